"""Requests that act: on a connection of their own, sent once or not at all, and silence that says which of the two."""

from __future__ import annotations

import json
import math
import socket

import pytest
from pydantic import SecretStr

from tests.leadbyte.raw_server import Conversation, Speak, serve
from worker.accounts import Account
from worker.domain.action_results import NEVER_ARRIVED
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.leadbyte.acting import ActingClient, Item
from worker.leadbyte.connections import _Watched

KEY = "PLANTED-key-88"
SECRET = "PLANTED-value-77"
SHORT = 2.0  # and long enough for a busy machine to have sent the request
BODY = b'{"status":"Success","details":{"17":"Queued for processing"}}'
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


def read_whole_request(conversation: Conversation) -> tuple[bytes, bytes]:
    """Head and body; both empty once the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data or len(data.split(b"\r\n\r\n", 1)[1]) < _read_length(data):
        if not (part := conversation._sock.recv(65536)):
            return b"", b""
        data += part
    head, body = data.split(b"\r\n\r\n", 1)
    conversation._server.requests.append(head)
    return head, body


def _read_length(data: bytes) -> int:
    return int(data.lower().split(b"content-length: ")[1].split(b"\r\n")[0])


def always(reply: bytes) -> Speak:
    """Answer the one request of each connection with these bytes."""

    def speak(conversation: Conversation) -> None:
        if read_whole_request(conversation)[0]:
            conversation.send(reply)

    return speak


def make_account(url: str) -> Account:
    return Account("acme", f"{url}/restapi/v1.3", "query", 10.0, 4, SecretStr(KEY))


def act(url: str, *, timeout: float = 60.0, send_before: float = math.inf) -> Asked:
    return ActingClient(timeout).post_process(make_account(url), "17", "process", send_before)


def test_each_call_is_made_exactly_as_documented() -> None:
    bodies = []

    def speak(conversation: Conversation) -> None:
        bodies.append(read_whole_request(conversation)[1])
        conversation.send(WHOLE)

    with serve(speak) as server:
        client, account = ActingClient(60.0), make_account(server.url)
        client.post_process(account, "17", "reject", math.inf)
        items = [Item("17", {"postcode": "TN25 6QD"}), Item("18", {"a": 1, "b": True}, "process")]
        client.put_leads(account, items, math.inf)
    assert [head.split(b"\r\n")[0] for head in server.requests] == [
        b"POST /restapi/v1.3/quarantine/process HTTP/1.1",
        b"PUT /restapi/v1.3/leads HTTP/1.1",
    ]
    assert all(f"X_KEY: {KEY}".encode() in head for head in server.requests)
    assert json.loads(bodies[0]) == {"quarantineId": 17, "action": "reject"}
    assert json.loads(bodies[1]) == {
        "leads": [
            {"quarantineId": "17", "update": {"postcode": "TN25 6QD"}},
            {"quarantineId": "18", "update": {"a": 1, "b": True}, "action": "process"},
        ]
    }
    assert server.connections == 2


@pytest.mark.parametrize("cut_at", range(len(WHOLE)))
def test_an_answer_cut_at_any_byte_is_no_answer_and_may_have_arrived(cut_at: int) -> None:
    with serve(always(WHOLE[:cut_at])) as server:
        asked = act(server.url)
    assert isinstance(asked, NoAnswer)
    assert asked.why not in NEVER_ARRIVED
    assert len(server.requests) == 1


def test_a_whole_answer_is_handed_on() -> None:
    with serve(always(WHOLE)) as server:
        assert act(server.url) == Answer(200, BODY, None)


def test_a_reset_amid_the_answer_may_have_arrived() -> None:
    def speak(conversation: Conversation) -> None:
        read_whole_request(conversation)
        conversation.reset()

    with serve(speak) as server:
        asked = act(server.url)
    assert isinstance(asked, NoAnswer)
    assert asked.why not in NEVER_ARRIVED


def test_silence_ends_by_the_deadline_and_may_have_arrived() -> None:
    with serve(Conversation.wait_for_hangup) as server:
        assert act(server.url, timeout=SHORT) == NoAnswer(Silence.TIMEOUT)


def test_a_dripping_answer_ends_by_the_deadline_and_may_have_arrived() -> None:
    def speak(conversation: Conversation) -> None:
        read_whole_request(conversation)
        conversation.drip(WHOLE, 0.1)

    with serve(speak) as server:
        assert act(server.url, timeout=SHORT) == NoAnswer(Silence.TIMEOUT)


def test_nobody_listening_is_surely_not_sent() -> None:
    with serve(always(WHOLE)) as server:
        url = server.url
    assert act(url) == NoAnswer(Silence.CONNECTION)


def test_an_unknown_host_is_surely_not_sent() -> None:
    assert act("http://nowhere.invalid") == NoAnswer(Silence.CONNECTION)


def test_a_failed_handshake_is_surely_not_sent() -> None:
    def speak(conversation: Conversation) -> None:
        conversation.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        conversation.wait_for_hangup()

    with serve(speak) as server:
        asked = act(server.url.replace("http:", "https:"))
    assert isinstance(asked, NoAnswer)
    assert asked.why in NEVER_ARRIVED


def test_a_handshake_that_never_ends_is_surely_not_sent() -> None:
    with serve(Conversation.wait_for_hangup) as server:
        asked = act(server.url.replace("http:", "https:"), timeout=0.3)
    assert isinstance(asked, NoAnswer)
    assert asked.why in NEVER_ARRIVED


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_deadline_that_passes_before_the_first_byte_is_surely_not_sent(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = _Watched._new_conn

    def connect_and_wait_for_the_deadline(connection: _Watched) -> socket.socket:
        sock = connect(connection)
        sock.settimeout(60)
        assert sock.recv(1) == b""
        return sock

    monkeypatch.setattr(_Watched, "_new_conn", connect_and_wait_for_the_deadline)
    with serve(always(WHOLE)) as server:
        asked = act(server.url.replace("http:", f"{scheme}:"), timeout=0.2)
    assert asked == NoAnswer(Silence.CONNECTION)
    assert server.requests == []


def test_nothing_is_written_once_its_moment_has_passed() -> None:
    with serve(always(WHOLE)) as server:
        assert act(server.url, send_before=-math.inf) == NoAnswer(Silence.UNSENT)
    assert server.requests == []


def test_a_redirect_is_not_followed() -> None:
    with serve(always(WHOLE)) as other:
        answer = f"HTTP/1.1 307 Go\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n".encode()
        with serve(always(answer)) as server:
            asked = act(server.url)
    assert isinstance(asked, Answer)
    assert asked.http_status == 307
    assert other.requests == []


def test_neither_key_nor_value_shows_where_requests_are_shown() -> None:
    echo = f"you sent {KEY}".encode()
    with serve(always(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(echo), echo))) as server:
        asked = act(server.url)
    assert isinstance(asked, Answer)
    assert asked.body == b"you sent ***"
    assert SECRET not in repr(Item("17", {"postcode": SECRET}))


def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(always(WHOLE)) as proxy, serve(always(WHOLE)) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        act(server.url)
    assert proxy.requests == []
