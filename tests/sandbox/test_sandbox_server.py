"""The server and its control plane: bounds, counting, the clock, the process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from worker.sandbox import SandboxClient, SandboxSettings, running, running_sandbox
from worker.sandbox.call_log import CallLog
from worker.sandbox.server import SandboxServer

Start = Callable[..., SandboxClient]
Ask = Callable[..., tuple[int, Any]]
Poll = Callable[[SandboxClient, str], dict[str, Any]]
NOON = 1_668_700_984.0


def connect(box: SandboxClient) -> socket.socket:
    host, _, port = box.root_url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def receive_all(connection: socket.socket) -> bytes:
    received = b""
    while some := connection.recv(65536):
        received += some
    return received


def call_bytes(queue_id: str, *headers: str) -> bytes:
    lines = [f"GET /restapi/v1.3/apiqueue/{queue_id} HTTP/1.1", "X_KEY: sandbox-key", *headers, "", ""]
    return "\r\n".join(lines).encode()


def test_a_connection_serves_many_calls_even_pipelined(box: SandboxClient) -> None:
    with connect(box) as connection:
        connection.sendall(call_bytes("sandbox-approved-0001") * 5 + call_bytes("sandbox-x", "Connection: close"))
        assert receive_all(connection).count(b"HTTP/1.1 200 OK") == 6


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
    ],
)
def test_what_breaks_a_bound_is_refused_and_closed(box: SandboxClient, request_bytes: bytes, status: bytes) -> None:
    with connect(box) as connection:
        connection.sendall(request_bytes)
        assert receive_all(connection).startswith(b"HTTP/1.1 " + status)


def test_a_client_that_waits_to_send_its_body_is_told_to(box: SandboxClient) -> None:
    head = (
        b"POST /restapi/v1.3/leads HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
    )
    with connect(box) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(b"{}")
        assert receive_all(connection).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_json_is_an_error(box: SandboxClient, body: bytes) -> None:
    head = f"POST /restapi/v1.3/leads HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with connect(box) as connection:
        connection.sendall(head + body)
        assert receive_all(connection).startswith(b"HTTP/1.1 400")


def test_a_client_that_leaves_in_mid_request_harms_nobody(box: SandboxClient, poll: Poll) -> None:
    for piece in (b"GET /", b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"):
        with connect(box) as connection:
            connection.sendall(piece)
    assert poll(box, "sandbox-approved-0001")["status"] == "Approved"


def test_health_tells_seed_leads_and_clock(start: Start) -> None:
    box = start(seed=7)
    box.submit(3)
    assert box.health() == {"status": "ok", "seed": 7, "leads": 3, "now": NOON}
    assert box.advance(60.5) == NOON + 60.5
    assert box.health()["now"] == NOON + 60.5


def test_peak_concurrency_is_counted_by_account(start: Start, ask: Ask) -> None:
    box = start(other_accounts={"acme": "acme-key"})
    hanging = [connect(box) for _ in range(3)]
    for connection in hanging:
        connection.sendall(call_bytes("sandbox-hang-0001"))
    while box.calls()["by_account"].get("sandbox", {}).get("in_flight") != 3:
        pass
    ask(box, "GET", "apiqueue/sandbox-approved-0001", key="acme-key")
    accounts = box.calls()["by_account"]
    for connection in hanging:
        connection.close()
    assert (accounts["sandbox"]["peak_concurrency"], accounts["acme"]["peak_concurrency"]) == (3, 1)


def test_too_many_at_once_are_silently_answered_with_nothing(start: Start) -> None:
    box = start(empty_above_concurrency=1)
    with connect(box) as hanging, connect(box) as connection:
        hanging.sendall(call_bytes("sandbox-hang-0001"))
        while box.calls()["total"] != 1:
            pass
        connection.sendall(call_bytes("sandbox-approved-0001", "Connection: close"))
        assert b"Content-Length: 0\r\n\r\n" in receive_all(connection)


def test_calls_are_counted_by_kind_status_and_second(box: SandboxClient, ask: Ask, poll: Poll) -> None:
    box.submit(2)
    poll(box, "sandbox-approved-0001")
    poll(box, "sandbox-approved-0001")
    ask(box, "GET", "apiqueue/sandbox-approved-0001", key="wrong")
    calls = box.calls(instants=True)
    assert calls["by_kind"] == {"submit": 1, "poll": 3}
    assert calls["by_http_status"] == {"200": 3, "401": 1}
    assert calls["by_account"]["sandbox"]["peak_per_second"] <= 3
    assert calls["polls"]["sandbox-approved-0001"] == 2
    assert [(account, kind) for _, account, kind in calls["instants"]] == [
        ("sandbox", "submit"),
        ("sandbox", "poll"),
        ("sandbox", "poll"),
        ("?", "poll"),
    ]
    instants = [instant for instant, _, _ in calls["instants"]]
    assert instants == sorted(instants)


def test_the_first_final_answer_is_noted_only_when_it_was_given(box: SandboxClient, ask: Ask) -> None:
    for queue_id in ("sandbox-error200-times1-0001", "sandbox-truncated-times1-0001", "sandbox-pending-0001"):
        with connect(box) as connection:
            connection.sendall(call_bytes(queue_id, "Connection: close"))
            receive_all(connection)
    assert box.calls()["final_answers"] == {}
    box.advance(10)
    ask(box, "GET", "apiqueue/sandbox-pending-0001")
    box.advance(10)
    ask(box, "GET", "apiqueue/sandbox-pending-0001")
    assert box.calls()["final_answers"] == {"sandbox-pending-0001": NOON + 10}


def test_the_busiest_second_slides() -> None:
    instants = iter([0.0, 0.0, 0.9, 1.5, 1.6, 1.7, 9.0])
    log = CallLog(lambda: next(instants))
    for _ in range(6):
        with log.record_call("poll", "sandbox"):
            pass
    assert log.summarise(with_instants=False)["by_account"]["sandbox"]["peak_per_second"] == 4


def test_a_key_can_be_rotated(box: SandboxClient, ask: Ask) -> None:
    box.rotate_key("sandbox", "fresh")
    assert ask(box, "GET", "apiqueue/sandbox-approved-0001")[0] == 401
    assert ask(box, "GET", "apiqueue/sandbox-approved-0001", key="fresh")[0] == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("advance", {"seconds": -1}),
        ("advance", {"seconds": "NaN"}),
        ("advance", {}),
        ("advance", [1]),
        ("key", {"account": "nobody", "key": "x"}),
        ("person", {"quarantine_id": 1, "action": "dance"}),
        ("script", {"match": "*"}),
        ("script", {"match": "*", "fault": "500", "times": "x"}),
    ],
)
def test_a_control_call_that_means_nothing_is_refused_in_one_line(
    box: SandboxClient, ask: Ask, path: str, body: object
) -> None:
    status, answer = ask(box, "POST", f"/sandbox/{path}", body)
    assert status == 400
    assert "\n" not in answer["error"]


def test_an_unknown_control_call_is_not_found(box: SandboxClient, ask: Ask) -> None:
    assert ask(box, "GET", "/sandbox/nonsense")[0] == 404


def test_no_control_answer_holds_a_key_or_lead_data(box: SandboxClient, ask: Ask) -> None:
    box.submit(1, fields={"email": "ada@example.com"})
    ask(box, "GET", "apiqueue/sandbox-quarantined-0001?key=sandbox-key")
    held = box.truth()["sandbox-quarantined-0001"]["quarantine_id"]
    ask(box, "PUT", "leads", {"leads": [{"quarantineId": held, "update": {"email": "ada@example.com"}}]})
    told = f"{box.health()} {box.truth()} {box.calls(instants=True)} {box.actions()}"
    assert "sandbox-key" not in told
    assert "ada@example.com" not in told


def test_latency_delays_and_changes_nothing(start: Start, poll: Poll) -> None:
    assert poll(start(latency_seconds=0.01), "sandbox-approved-0001")["status"] == "Approved"


def test_a_port_in_use_is_told_at_once(box: SandboxClient) -> None:
    port = int(box.root_url.rpartition(":")[2])
    with pytest.raises(OSError, match="address already in use"), running_sandbox(SandboxSettings(port=port)):
        pytest.fail("two sandboxes on one port")


def test_a_sandbox_that_does_not_begin_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    others, may_begin = set(threading.enumerate()), threading.Event()
    begin = SandboxServer.__aenter__

    async def begin_late(server: SandboxServer) -> SandboxServer:
        may_begin.wait(60)
        return await begin(server)

    monkeypatch.setattr(SandboxServer, "__aenter__", begin_late)
    monkeypatch.setattr(running, "_START_SECONDS", 0.01)
    with pytest.raises(TimeoutError), running_sandbox():
        pytest.fail("it has not begun")
    (late,) = set(threading.enumerate()) - others
    may_begin.set()
    late.join(60)
    assert not late.is_alive()


@pytest.mark.processes
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_process_tells_where_it_is_and_ends_cleanly(ending: signal.Signals) -> None:
    code = "from worker.sandbox import *; serve_sandbox(SandboxSettings(seed=5))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("sandbox LeadByte ready on http://127.0.0.1:")
        assert line.endswith(" (seed 5)\n")
        box = SandboxClient(line.split(" ")[4], "sandbox-key")
        assert len(box.submit(1200)) == 1200
        with connect(box) as hanging:
            # A client that never reads 100 MB must not keep the process from ending.
            hanging.sendall(call_bytes("sandbox-huge-0001"))
            process.send_signal(ending)
            assert process.wait(60) == 0
