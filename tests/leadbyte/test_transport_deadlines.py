"""Every transport: one total deadline, whatever trickles in and in whichever phase."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.leadbyte.raw_server import JSON_OK, Conversation, encode, serve
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.leadbyte import curl_exchange, host_lookup, requests_transport
from worker.leadbyte.requests_transport import RequestsTransport
from worker.leadbyte.transport import Request, Transport, fetch_many

Fetch = Callable[..., Asked]
PollUrl = Callable[[str], str]

_DEADLINE_SECONDS = 0.3
# Whatever puts the deadline off lasts longer by far: what trickles here goes on for more than a minute.
_GENEROUS_SECONDS = 30.0
_LATE = NoAnswer(Silence.TIMEOUT)


@pytest.fixture(autouse=True)
def _no_other_limit_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts about that one set their own."""
    limit_connecting(monkeypatch, 2 * _GENEROUS_SECONDS)


def limit_connecting(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    for module in (requests_transport, curl_exchange):
        monkeypatch.setattr(module, "CONNECT_SECONDS", seconds)


def fetch_in_time(fetch: Fetch, url: str) -> Asked:
    began = time.monotonic()
    asked = fetch(url, timeout_seconds=_DEADLINE_SECONDS)
    assert time.monotonic() - began < _GENEROUS_SECONDS
    return asked


def drip(data: bytes, at_once: bytes = b"") -> Callable[[Conversation], None]:
    def speak(conversation: Conversation) -> None:
        if conversation.read_request():
            conversation.send(at_once)
            conversation.drip(data, every_seconds=0.1)

    return speak


@pytest.mark.parametrize("name", ["hang", "slow", "drip"])
def test_a_slow_answer_is_given_up_at_the_deadline(fetch: Fetch, poll_url: PollUrl, name: str) -> None:
    assert fetch_in_time(fetch, poll_url(name)) == _LATE


def test_a_slow_answer_within_the_deadline_is_taken(fetch: Fetch, poll_url: PollUrl) -> None:
    asked = fetch(poll_url("slow-wait1"), timeout_seconds=20)
    assert isinstance(asked, Answer)
    assert json.loads(asked.body)["records"]


@pytest.mark.parametrize(
    ("at_once", "then"),
    [
        (b"", encode(JSON_OK * 50)),
        (b"HTTP/1.1 200 OK\r\nX-", b"x" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 200),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x" * 1000),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n", b"x" * 1000),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000),
        (b"HTTP/1.0 200 OK\r\n\r\n", b"x" * 1000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 1000),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 1000\r\n\r\n", b"x" * 1000),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08", b"\x00" * 1000),
    ],
)
def test_a_byte_now_and_then_does_not_put_the_deadline_off(fetch: Fetch, at_once: bytes, then: bytes) -> None:
    with serve(drip(then, at_once)) as server:
        assert fetch_in_time(fetch, server.url) == _LATE


def test_a_handshake_without_an_answer_is_given_up_at_the_deadline(fetch: Fetch) -> None:
    with serve(Conversation.wait_for_hangup) as server:
        assert fetch_in_time(fetch, server.url.replace("http:", "https:")) == _LATE


def test_a_handshake_that_trickles_does_not_put_the_deadline_off(fetch: Fetch) -> None:
    # The head of a TLS record that promises 16 KB of handshake.
    with serve(lambda conversation: conversation.drip(b"\x16\x03\x03\x40\x00" + b"\x02" * 1000, 0.1)) as server:
        assert fetch_in_time(fetch, server.url.replace("http:", "https:")) == _LATE


@pytest.fixture
def dead_address() -> Iterator[tuple[str, int]]:
    """Nobody accepts: once the backlog is full, further connections get no reply."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address: tuple[str, int] = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        yield address
        for sock in waiting:
            sock.close()


def test_a_host_that_lets_nobody_in_is_given_up_at_the_deadline(fetch: Fetch, dead_address: tuple[str, int]) -> None:
    assert fetch_in_time(fetch, f"http://127.0.0.1:{dead_address[1]}/") == _LATE


def test_a_host_that_lets_nobody_in_is_a_failed_connection_before_the_deadline(
    fetch: Fetch, dead_address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_connecting(monkeypatch, 0.2)
    assert fetch(f"http://127.0.0.1:{dead_address[1]}/") == NoAnswer(Silence.CONNECTION)


# libcurl has one deadline over all addresses by itself; urllib3 had one for each.
@pytest.mark.parametrize("transport", [RequestsTransport], indirect=True)
def test_a_host_of_many_dead_addresses_has_one_deadline(
    fetch: Fetch, dead_address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", dead_address)] * 500
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)
    assert fetch_in_time(fetch, f"http://many.invalid:{dead_address[1]}/") == _LATE


@pytest.fixture
def hanging_lookups(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """No host is found for as long as the test lasts: the names that were looked up."""
    hosts: list[str] = []
    is_over = threading.Event()

    def hang(host: str, *_args: object, **_kwargs: object) -> list[object]:
        hosts.append(host)
        is_over.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield hosts
    is_over.set()


# libcurl looks up by itself, where no test can hold it up from within Python.
@pytest.mark.parametrize("transport", [RequestsTransport], indirect=True)
def test_a_host_that_is_never_found_is_given_up_at_the_deadline(fetch: Fetch, hanging_lookups: list[str]) -> None:
    assert fetch_in_time(fetch, "http://hangs-0.invalid/") == _LATE
    assert hanging_lookups == ["hangs-0.invalid"]


@pytest.mark.parametrize("transport", [RequestsTransport], indirect=True)
def test_a_host_that_is_never_found_is_a_failed_connection_before_the_deadline(
    fetch: Fetch, hanging_lookups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_connecting(monkeypatch, 0.2)
    assert fetch("http://hangs-1.invalid/") == NoAnswer(Silence.CONNECTION)
    assert hanging_lookups


@pytest.mark.parametrize("transport", [RequestsTransport], indirect=True)
def test_a_lookup_that_hangs_is_waited_for_by_all_and_not_repeated(
    transport: Transport, hanging_lookups: list[str]
) -> None:
    requests = [Request(number, "http://hangs-2.invalid/") for number in range(20)]
    asked = dict(fetch_many(transport, requests, parallel=5, timeout_seconds=_DEADLINE_SECONDS))
    assert asked == dict.fromkeys(range(20), _LATE)
    assert hanging_lookups == ["hangs-2.invalid"]


@pytest.mark.parametrize("transport", [RequestsTransport], indirect=True)
def test_a_lookup_that_is_stuck_is_not_waited_for_for_ever(
    transport: Transport, hanging_lookups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_lookup, "STUCK_AFTER_SECONDS", -1.0)
    requests = [Request(number, "http://stuck.invalid/") for number in range(3)]
    assert len(list(fetch_many(transport, requests, parallel=1, timeout_seconds=_DEADLINE_SECONDS))) == 3
    assert hanging_lookups == ["stuck.invalid"] * 3
