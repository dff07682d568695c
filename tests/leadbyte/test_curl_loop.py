"""Two ways of driving libcurl that take turns: whoever was sent one way is not forgotten by the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event

import pytest

from tests.leadbyte.raw_server import JSON_OK, Conversation, RawServer, encode, serve
from worker.leadbyte.curl_loop import CurlLoop
from worker.leadbyte.transport import Request

FIRST, SECOND = Event(), Event()  # set: the request that asks for it is answered
WAS_ASKED = Event()  # for `/again`, on which the first connection then hangs up when FIRST is set


def answer_when_told(conversation: Conversation) -> None:
    while request := conversation.read_request():
        if b"/again" in request and not WAS_ASKED.is_set():
            WAS_ASKED.set()
            assert FIRST.wait(60)
            return
        assert (FIRST if b"/first" in request else SECOND).wait(60)
        conversation.send(encode(JSON_OK))


@pytest.fixture
def server() -> Iterator[RawServer]:
    for gate in (FIRST, SECOND, WAS_ASKED):
        gate.clear()
    with serve(answer_when_told) as server:
        yield server


@pytest.fixture
def loop() -> Iterator[CurlLoop]:
    loop = CurlLoop()
    yield loop
    loop.close()


def start(loop: CurlLoop, server: RawServer, path: str) -> None:
    exchange = loop.take_spare()
    assert exchange.prepare(0, Request(path, f"{server.url}{path}"), 60_000)
    loop.start(exchange)


def run_until_ended(loop: CurlLoop, count: int = 1) -> list[str]:
    ended: list[str] = []
    for _ in range(20):
        for exchange, error in loop.collect():
            assert not error
            ended.append(exchange.tag)
            loop.put_back(exchange)
        if len(ended) >= count:
            break
        loop.run(2.0)
    return ended


def make_connections(loop: CurlLoop, server: RawServer, count: int) -> None:
    FIRST.set()
    for _ in range(count):
        start(loop, server, "/first")
    assert len(run_until_ended(loop, count)) == count
    FIRST.clear()


@pytest.mark.parametrize("tries_all_first", [True, False])
def test_what_was_sent_one_way_is_answered_the_other(loop: CurlLoop, server: RawServer, tries_all_first: bool) -> None:
    make_connections(loop, server, 2)
    loop.try_all(is_cheaper=tries_all_first)
    start(loop, server, "/first")
    loop.run(0)
    loop.try_all(is_cheaper=not tries_all_first)
    start(loop, server, "/second")
    loop.run(0)
    for gate, path in ((FIRST, "/first"), (SECOND, "/second")):
        gate.set()
        assert run_until_ended(loop) == [path]


def test_what_is_sent_again_over_another_kept_connection_is_answered(loop: CurlLoop, server: RawServer) -> None:
    make_connections(loop, server, 2)
    start(loop, server, "/again")
    loop.run(0)
    assert WAS_ASKED.wait(60)
    loop.try_all(is_cheaper=True)
    FIRST.set()
    for _ in range(6000):
        if len(server.requests) == 4:  # two for the connections, and this one twice
            break
        loop.run(0)
        time.sleep(0.01)
    loop.try_all(is_cheaper=False)
    SECOND.set()
    assert run_until_ended(loop) == ["/again"]
    assert server.connections == 2


def test_a_kept_connection_used_one_way_serves_the_other(loop: CurlLoop, server: RawServer) -> None:
    FIRST.set()
    for tries_all in (True, False, False, True, True, False):
        loop.try_all(is_cheaper=tries_all)
        start(loop, server, "/first")
        assert run_until_ended(loop) == ["/first"]
    assert server.connections == 1
