"""Faults really happen on the wire: raw sockets see what a client would see."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from worker.sandbox import SandboxClient, describe_names
from worker.sandbox.faults import FAULTS

Start = Callable[..., SandboxClient]
Ask = Callable[..., tuple[int, Any]]
Poll = Callable[[SandboxClient, str], dict[str, Any]]
# These do not come back with a whole answer of bounded size; each has a test of its own.
ENDLESS = {"hang", "drip", "endless", "huge", "gzipbomb", "slow", "reset"}


def open_call(box: SandboxClient, queue_id: str) -> socket.socket:
    host, _, port = box.root_url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(request_bytes(queue_id))
    return connection


def request_bytes(queue_id: str) -> bytes:
    lines = [f"GET /restapi/v1.3/apiqueue/{queue_id} HTTP/1.1", "X_KEY: sandbox-key", "Connection: close", "", ""]
    return "\r\n".join(lines).encode()


def receive(connection: socket.socket, limit: int = 10**7) -> bytes:
    """Bytes until the sandbox closes, or `limit` of them."""
    received = b""
    while len(received) < limit and (some := connection.recv(65536)):
        received += some
    return received


def fetch(box: SandboxClient, queue_id: str) -> tuple[int, dict[str, str], bytes]:
    with open_call(box, queue_id) as connection:
        head, _, body = receive(connection).partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if ": " in line)
    return int(start.split(" ")[1]), headers, body


@pytest.mark.parametrize("name", sorted(set(FAULTS) - ENDLESS))
def test_every_fault_differs_from_the_true_answer_or_leaves_it(box: SandboxClient, name: str) -> None:
    with open_call(box, f"sandbox-{name}-times1-0001") as connection:
        first = receive(connection)
    with open_call(box, f"sandbox-{name}-times1-0001") as connection:
        second = receive(connection)
    assert b'"status": "Approved"' in second
    assert (first == second) == (name in {"unprocessed", "regress"})
    assert box.calls()["by_fault"] == {name: 1}


def test_every_name_of_the_brief_is_in_the_printed_table() -> None:
    printed = {name.removeprefix("sandbox-").removesuffix("-…") for name, _ in describe_names()}
    wanted = (
        "approved pending quarantined returned queued notfound hang drip cut reset wronglength 429 500 502 503 504 "
        "401 403 login redirect huge endless gzipbomb empty null list truncated error200 other two none "
        "unknownstatus nul surrogate badutf8 bom nan bigint deep dupkeys hugeheaders slow rejected-8"
    )
    assert set(wanted.split()) <= printed


def test_a_hanging_call_gets_no_byte(box: SandboxClient) -> None:
    with open_call(box, "sandbox-hang-0001") as connection:
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.sendall(b"are you there?")
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_a_drip_comes_one_byte_at_a_time(start: Start) -> None:
    box = start(drip_seconds=0.01)
    with open_call(box, "sandbox-drip-0001") as connection:
        assert [connection.recv(100) for _ in range(4)] == [b"H", b"T", b"T", b"P"]


def test_a_drip_ends_in_the_right_answer(start: Start, poll: Poll) -> None:
    assert poll(start(drip_seconds=0), "sandbox-drip-0001")["status"] == "Approved"


def test_a_slow_answer_is_the_right_one(start: Start, poll: Poll) -> None:
    box = start(slow_seconds=0.01)
    assert poll(box, "sandbox-slow-0001")["status"] == "Approved"


def test_a_cut_comes_at_the_byte_asked_for(box: SandboxClient) -> None:
    for at in (0, 1, 17, 200):
        with open_call(box, f"sandbox-cut-at{at}-0001") as connection:
            assert len(receive(connection)) == at


def test_a_cut_body_is_shorter_than_promised(box: SandboxClient) -> None:
    for name in ("cut", "wronglength"):
        _, headers, body = fetch(box, f"sandbox-{name}-0001")
        assert len(body) < int(headers["Content-Length"])


def test_a_body_may_be_longer_than_promised_and_spoil_the_next_answer(box: SandboxClient) -> None:
    _, headers, body = fetch(box, "sandbox-shortlength-0001")
    assert len(body) > int(headers["Content-Length"])


def test_a_reset_is_a_reset(box: SandboxClient) -> None:
    with open_call(box, "sandbox-reset-0001") as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


def test_a_lost_reply_is_a_clean_close(box: SandboxClient) -> None:
    with open_call(box, "sandbox-lostreply-0001") as connection:
        assert receive(connection) == b""


def test_a_huge_body_goes_on_past_any_cap(box: SandboxClient) -> None:
    for name, promise in (("huge", b"Content-Length: 104857600"), ("endless", b"Transfer-Encoding: chunked")):
        with open_call(box, f"sandbox-{name}-0001") as connection:
            received = receive(connection, limit=3_000_000)
        assert promise in received[:500]
        assert len(received) >= 3_000_000


def test_a_bomb_is_small_and_unpacks_without_end(box: SandboxClient) -> None:
    _, headers, body = fetch(box, "sandbox-gzipbomb-0001")
    assert headers["Content-Encoding"] == "gzip"
    assert len(body) < 2_000_000
    unpacked = 0
    while unpacked < 50_000_000:
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        unpacked += len(member.decompress(body))
        body = member.unused_data


def test_nested_gzip_is_nested_twelve_times(box: SandboxClient) -> None:
    _, headers, body = fetch(box, "sandbox-nested-0001")
    for _ in headers["Content-Encoding"].split(", "):
        body = gzip.decompress(body)
    assert json.loads(body)["records"][0]["status"] == "Approved"


@pytest.mark.parametrize(
    ("name", "retry_after"),
    [
        ("429", "2"),
        ("429-wait30", "30"),
        ("429date", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("429future", "Fri, 31 Dec 2099 23:59:59 GMT"),
        ("429negative", "-5"),
        ("429absurd", "99999999999"),
        ("429junk", "soon"),
        ("429bare", None),
    ],
)
def test_a_limit_tells_when_to_come_back(box: SandboxClient, name: str, retry_after: str | None) -> None:
    status, headers, _ = fetch(box, f"sandbox-{name}-0001")
    assert (status, headers.get("Retry-After")) == (429, retry_after)
    throttles = [value for _, _, value in box.calls()["throttles"]]
    assert throttles == ([] if retry_after is None else [retry_after])


@pytest.mark.parametrize("status", [401, 403, 404, 500, 502, 503, 504])
def test_an_http_error_is_one(box: SandboxClient, status: int) -> None:
    assert fetch(box, f"sandbox-{status}-0001")[0] == status


def test_a_key_of_three_digits_needs_no_more(box: SandboxClient) -> None:
    assert fetch(box, "sandbox-401")[0] == 401


@pytest.mark.parametrize(
    ("name", "body"), [("empty", b""), ("null", b"null"), ("list", b"[]"), ("error200", b'{"status": "Error"')]
)
def test_nothing_comes_with_200(box: SandboxClient, name: str, body: bytes) -> None:
    status, _, received = fetch(box, f"sandbox-{name}-0001")
    assert status == 200
    assert received.startswith(body)
    assert bool(body) == bool(received)


@pytest.mark.parametrize(("name", "word"), [("login", b"Log in"), ("suspended", b"suspended")])
def test_a_page_comes_with_200(box: SandboxClient, name: str, word: bytes) -> None:
    status, headers, body = fetch(box, f"sandbox-{name}-0001")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert word in body


def test_a_redirect_leads_to_a_trap_that_notices_the_key(box: SandboxClient, ask: Ask) -> None:
    status, headers, _ = fetch(box, "sandbox-redirect-0001")
    assert status == 302
    assert headers["Location"] == box.root_url.replace("127.0.0.1", "localhost") + "/sandbox/trap"
    ask(box, "GET", "/sandbox/trap", key=None)
    ask(box, "GET", "/sandbox/trap")
    ask(box, "GET", "/sandbox/trap?key=sandbox-key", key=None)
    assert box.calls()["trapped"] == {"requests": 3, "with_key": 2}


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("other", ["Approved"]),
        ("two", ["Approved", "Rejected"]),
        ("contradiction", ["Approved", "Rejected"]),
        ("none", []),
        ("unknownstatus", ["Transmogrified"]),
    ],
)
def test_records_may_be_wrong(box: SandboxClient, name: str, statuses: list[str]) -> None:
    records = json.loads(fetch(box, f"sandbox-{name}-0001")[2])["records"]
    assert [record["status"] for record in records] == statuses
    owners = {record["queueId"] == f"sandbox-{name}-0001" for record in records}
    assert owners == {"other": {False}, "two": {True, False}, "none": set()}.get(name, {True})


def test_a_status_may_go_back_and_forth(box: SandboxClient, poll: Poll) -> None:
    statuses = [poll(box, "sandbox-regress-0001")["status"] for _ in range(4)]
    assert statuses == ["Approved", "Queued", "Approved", "Queued"]


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("nul", b"\\u0000"),
        ("surrogate", b"\\ud800"),
        ("errornul", b"\\u0000"),
        ("badutf8", b"\xff\xfe"),
        ("bom", b"\xef\xbb\xbf{"),
        ("nan", b'"payout": NaN'),
        ("bigint", b'"leadId": 1180591620717411303424'),
        ("hugeint", b"9" * 5000),
        ("deep", b"[" * 100_000),
        ("dupkeys", b'"status": "Rejected", "status": "Approved"'),
    ],
)
def test_bodies_hold_what_no_decent_body_holds(box: SandboxClient, name: str, raw: bytes) -> None:
    assert raw in fetch(box, f"sandbox-{name}-0001")[2]


def test_truncated_json_has_a_fitting_length(box: SandboxClient) -> None:
    _, headers, body = fetch(box, "sandbox-truncated-0001")
    assert len(body) == int(headers["Content-Length"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


def test_headers_may_be_huge(box: SandboxClient) -> None:
    with open_call(box, "sandbox-hugeheaders-0001") as connection:
        assert receive(connection).index(b"\r\n\r\n") > 1_000_000


def test_true_answers_come_in_odd_clothes(box: SandboxClient, ask: Ask, poll: Poll) -> None:
    assert "buyers" not in poll(box, "sandbox-absent-0001")["response"]
    assert poll(box, "sandbox-emptyblocks-0001")["response"]["deliveries"] == []
    assert "buyers" in ask(box, "GET", "apiqueue/sandbox-elsewhere-0001")[1]
    assert poll(box, "sandbox-objectblocks-0001")["response"]["buyer"]["status"] == "Sold"
    assert isinstance(poll(box, "sandbox-numbers-0001")["response"]["buyers"][0]["revenue"], float)
    revenues = [poll(box, "sandbox-oddmoney-0001")["response"]["buyers"][0]["revenue"] for _ in range(2)]
    assert revenues == ["", "N/A"]
    assert poll(box, "sandbox-oddtimes-0001")["processed"] == "0000-00-00 00:00:00"
    (record,) = ask(box, "GET", "apiqueue/sandbox-renamed-0001")[1]["results"]
    assert (record["queueRef"], record["status"]) == ("sandbox-renamed-0001", "APPROVED")


def test_faults_leave_answers_without_records_alone(box: SandboxClient, ask: Ask) -> None:
    for name in ("renamed", "oddtimes", "numbers", "elsewhere", "unknownstatus"):
        box.script("@submit", name, 1)
        assert "results" in ask(box, "POST", "leads", {"lead": {"email": "a"}})[1]


def test_a_fault_may_be_limited(box: SandboxClient, ask: Ask) -> None:
    box.script("sandbox-approved", "429", times=2)
    statuses = [ask(box, "GET", "apiqueue/sandbox-approved-0001")[0] for _ in range(3)]
    assert statuses == [429, 429, 200]


def test_a_script_lasts_until_it_is_cleared(box: SandboxClient, ask: Ask) -> None:
    box.script("*", "403")
    assert {ask(box, "GET", "apiqueue/sandbox-approved-0001")[0] for _ in range(3)} == {403}
    assert ask(box, "POST", "leads", {"email": "a"})[0] == 403
    box.clear_script()
    assert ask(box, "GET", "apiqueue/sandbox-approved-0001")[0] == 200


def test_a_script_may_pick_a_kind_of_call(box: SandboxClient, ask: Ask) -> None:
    box.script("@poll_batch", "401")
    assert ask(box, "GET", "apiqueue", {"queueIds": ["sandbox-approved-0001"]})[0] == 401
    assert ask(box, "GET", "apiqueue/sandbox-approved-0001")[0] == 200


@pytest.mark.parametrize(("fault", "times"), [("nonsense", None), ("approved", None), ("500", -1)])
def test_a_script_that_means_nothing_is_refused(box: SandboxClient, fault: str, times: int | None) -> None:
    with pytest.raises(RuntimeError, match="sandbox refused POST /sandbox/script"):
        box.script("*", fault, times)
