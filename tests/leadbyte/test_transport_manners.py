"""Every transport: how many at once, when, over which connections, and what it takes along."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.leadbyte.raw_server import JSON_OK, Conversation, always, encode, serve
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.leadbyte.transport import Request, Transport, fetch_many

Fetch = Callable[..., Asked]

_OK = Answer(200, JSON_OK)


class Crowd:
    """A server that answers when so many requests are under way, and a moment later, lest there be more."""

    def __init__(self, size: int) -> None:
        self._all_there = threading.Barrier(size, timeout=60)
        self._lock = threading.Lock()
        self._under_way = 0
        self.peak = 0

    def speak(self, conversation: Conversation) -> None:
        while conversation.read_request():
            self._count(1)
            self._all_there.wait()
            time.sleep(0.02)
            self._count(-1)
            conversation.send(encode(JSON_OK))

    def _count(self, more: int) -> None:
        with self._lock:
            self._under_way += more
            self.peak = max(self.peak, self._under_way)


def test_every_request_gets_its_own_answer(transport: Transport) -> None:
    def speak(conversation: Conversation) -> None:
        while head := conversation.read_request():
            conversation.send(encode(head.split()[1]))

    with serve(speak) as server:
        requests = [Request(tag, f"{server.url}/{tag}") for tag in range(200)]
        asked = list(fetch_many(transport, requests, parallel=8, timeout_seconds=60))
    assert sorted(tag for tag, _ in asked) == list(range(200))
    assert all(got == Answer(200, b"/%d" % tag) for tag, got in asked)


def test_nothing_to_ask_is_nothing_answered(transport: Transport) -> None:
    assert list(fetch_many(transport, [], parallel=3, timeout_seconds=1)) == []


def test_connections_are_kept_between_calls_and_parallelisms(transport: Transport) -> None:
    with serve(always(encode(JSON_OK), keeps=True)) as server:
        for parallel in (4, 1, 3, 4):
            requests = [Request(tag, server.url) for tag in range(12)]
            asked = fetch_many(transport, requests, parallel=parallel, timeout_seconds=60)
            assert all(got == _OK for _, got in asked)
        assert server.connections <= 4


@pytest.mark.parametrize("parallels", [(1,), (3,), (6, 2)])
def test_no_more_than_allowed_are_under_way_at_once(transport: Transport, parallels: tuple[int, ...]) -> None:
    for parallel in parallels[:-1]:
        with serve(always(encode(JSON_OK), keeps=True)) as server:
            list(fetch_many(transport, [Request(0, server.url)] * 12, parallel=parallel, timeout_seconds=60))
    crowd = Crowd(parallels[-1])
    with serve(crowd.speak) as server:
        requests = [Request(tag, server.url) for tag in range(12)]
        asked = list(fetch_many(transport, requests, parallel=parallels[-1], timeout_seconds=60))
    assert [got for _, got in asked] == [_OK] * 12
    assert crowd.peak == parallels[-1]


def test_no_request_is_sent_before_its_moment(transport: Transport) -> None:
    arrived: dict[bytes, float] = {}

    def speak(conversation: Conversation) -> None:
        while head := conversation.read_request():
            arrived[head.split()[1]] = time.monotonic()
            conversation.send(encode(JSON_OK))

    with serve(speak) as server:
        began = time.monotonic()
        requests = [Request(n, f"{server.url}/{n}", send_at=began + n * 0.1) for n in range(4)]
        assert all(got == _OK for _, got in fetch_many(transport, requests, parallel=4, timeout_seconds=60))
    assert all(arrived[b"/%d" % n] - began >= n * 0.1 for n in range(4))


def test_the_wait_for_its_moment_does_not_count_against_a_requests_deadline(transport: Transport) -> None:
    with serve(Conversation.wait_for_hangup) as server:
        moment = time.monotonic() + 0.5
        asked = fetch_many(transport, [Request(0, server.url, send_at=moment)], parallel=1, timeout_seconds=0.4)
        assert list(asked) == [(0, NoAnswer(Silence.TIMEOUT))]
    assert time.monotonic() >= moment + 0.4


def test_a_slow_answer_does_not_hold_up_the_others(transport: Transport) -> None:
    others_came = threading.Event()

    def speak(conversation: Conversation) -> None:
        while head := conversation.read_request():
            if head.startswith(b"GET /0 "):
                others_came.wait(60)
            conversation.send(encode(JSON_OK))

    order = []
    with serve(speak) as server:
        requests = [Request(tag, f"{server.url}/{tag}") for tag in range(6)]
        for tag, got in fetch_many(transport, requests, parallel=2, timeout_seconds=60):
            assert got == _OK
            order.append(tag)
            if len(order) == 5:
                others_came.set()
    assert order[-1] == 0


def test_whoever_stops_listening_causes_no_further_requests(transport: Transport) -> None:
    has_left = threading.Event()

    def speak(conversation: Conversation) -> None:
        while head := conversation.read_request():
            if head.startswith(b"GET /late"):
                has_left.wait(60)
            conversation.send(encode(JSON_OK))

    with serve(speak) as server:
        requests = [Request(0, server.url), *(Request(tag, f"{server.url}/late") for tag in range(1, 50))]
        answers = fetch_many(transport, requests, parallel=1, timeout_seconds=60)
        assert next(iter(answers)) == (0, _OK)
        answers.close()  # type: ignore[attr-defined]  # of a generator, which every transport's is
        has_left.set()
        ((tag, _),) = fetch_many(transport, [Request(7, f"{server.url}/last")], parallel=1, timeout_seconds=60)
        assert tag == 7
        assert len(server.requests) <= 3


def test_no_cookie_is_kept(fetch: Fetch) -> None:
    with serve(always(encode(JSON_OK, "Set-Cookie: session=1; Path=/", "Set-Cookie: b=2"), keeps=True)) as server:
        assert fetch(server.url) == fetch(server.url) == _OK
        assert not any(b"cookie" in head.lower() for head in server.requests)


def test_the_environments_proxies_and_logins_are_ignored(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logins = tmp_path / "netrc"
    logins.write_text("machine 127.0.0.1 login somebody password secret\n", encoding="utf-8")
    logins.chmod(0o600)
    monkeypatch.setenv("NETRC", str(logins))
    with serve(always(encode(b"proxy"))) as proxy, serve(always(encode(JSON_OK))) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.upper(), proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert fetch(server.url) == _OK
        assert proxy.connections == 0
        assert b"authorization" not in server.requests[0].lower()


def test_the_request_says_what_we_take_and_who_we_are(fetch: Fetch) -> None:
    with serve(always(encode(JSON_OK))) as server:
        fetch(f"{server.url}/a?key=b")
    head = server.requests[0].lower()
    assert head.startswith(b"get /a?key=b http/1.1\r\n")
    assert b"\r\naccept-encoding: identity\r\n" in head
    assert b"\r\nuser-agent: lead-resolver/" in head
