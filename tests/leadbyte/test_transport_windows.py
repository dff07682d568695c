"""Every transport: a window's lanes keep out of each other's way, and everything added comes back once."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import pytest

from tests.leadbyte.raw_server import JSON_OK, Conversation, always, encode, serve
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.leadbyte import pace, requests_transport
from worker.leadbyte.requests_transport import RequestsWindow
from worker.leadbyte.transport import Request, Transport, Window

_OK = Answer(200, JSON_OK)
_UNSENT = NoAnswer(Silence.UNSENT)
PATIENCE = 60.0


@pytest.fixture
def window(transport: Transport) -> Iterator[Window]:
    with closing(transport.open_window(timeout_seconds=PATIENCE, stop_after=is_429)) as window:
        yield window


def is_429(asked: Asked) -> bool:
    return isinstance(asked, Answer) and asked.http_status == 429


def take_all(window: Window) -> list[tuple[int, int, Asked]]:
    taken = []
    while len(window):
        taken += window.take(PATIENCE)
    return taken


def make_requests(url: str, count: int) -> list[Request]:
    return [Request(tag, f"{url}/{tag}") for tag in range(count)]


class Gate:
    """A server that holds back paths that begin with /held until it is opened; counts those it holds."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.held = threading.Semaphore(0)

    def open(self) -> None:
        self._open.set()

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.held.acquire(timeout=PATIENCE)

    def speak(self, conversation: Conversation) -> None:
        while head := conversation.read_request():
            if head.startswith(b"GET /held"):
                self.held.release()
                self._open.wait(PATIENCE)
            conversation.send(encode(JSON_OK))


def wait_until_held(window: Window, gate: Gate, count: int) -> None:
    """Let the window work until so many of its requests are at the server."""
    held = 0
    while held < count:
        assert window.take(0.01) == []
        held += gate.held.acquire(blocking=False)


def test_a_hanging_lane_holds_up_no_other(window: Window) -> None:
    gate = Gate()
    with serve(gate.speak) as server:
        window.open_lane(1, 4)
        window.open_lane(2, 2)
        window.add(1, make_requests(f"{server.url}/held", 4))
        window.add(2, make_requests(server.url, 100))
        quick: list[tuple[int, int, Asked]] = []
        while len(quick) < 100:
            quick += window.take(PATIENCE)
        assert {(lane, asked) for lane, _, asked in quick} == {(2, _OK)}
        assert len(window) == 4
        gate.open()
        assert sorted(take_all(window)) == [(1, tag, _OK) for tag in range(4)]


def test_a_stopped_lane_sends_nothing_more_and_waits_for_what_is_under_way(window: Window) -> None:
    gate = Gate()
    with serve(gate.speak) as server:
        for lane in (1, 2):
            window.open_lane(lane, 2)
        window.add(1, make_requests(f"{server.url}/held", 10))
        wait_until_held(window, gate, 2)
        window.stop_lane(1)
        window.add(2, make_requests(server.url, 3))
        before = []
        while len(window) > 2:
            before += window.take(PATIENCE)
        gate.open()
        assert Counter((lane, asked) for lane, _, asked in before) == {(1, _UNSENT): 8, (2, _OK): 3}
        assert Counter(asked for _, _, asked in take_all(window)) == {_OK: 2}
        assert len(server.requests) == 5


def test_a_lane_is_quiet_once_the_last_of_it_has_left_or_was_given_up(window: Window) -> None:
    gate = Gate()
    with serve(gate.speak) as server:
        window.open_lane(1, 2)
        assert window.look_at(1).is_quiet
        window.add(1, make_requests(f"{server.url}/held", 3))
        wait_until_held(window, gate, 2)
        assert not window.look_at(1).is_quiet  # one waits for a permit
        window.open_lane(1, 3)
        wait_until_held(window, gate, 1)
        assert window.look_at(1).is_quiet
        gate.open()
        take_all(window)
        window.add(1, [Request(7, server.url, send_at=time.monotonic() + PATIENCE)])
        assert not window.look_at(1).is_quiet
        window.stop_lane(1)
        assert take_all(window) == [(1, 7, _UNSENT)]
        assert window.look_at(1).is_quiet


def test_how_long_answers_take_counts_from_when_they_are_asked_for(window: Window) -> None:
    gate = Gate()
    with serve(gate.speak) as server:
        window.open_lane(1, 1)
        assert window.look_at(1).answer_seconds == math.inf
        window.add(1, make_requests(f"{server.url}/held", 2))
        wait_until_held(window, gate, 1)
        time.sleep(0.2)
        gate.open()
        take_all(window)
        slower = window.look_at(1).answer_seconds
        assert 0.1 < slower < PATIENCE  # the second one was quick, however long it had to wait for the first
        for _ in range(20):
            window.add(1, make_requests(server.url, 1))
            take_all(window)
        assert window.look_at(1).answer_seconds < slower
        assert window.look_at(7).answer_seconds == math.inf


def test_an_answer_that_says_stop_ends_its_own_lane_alone(window: Window) -> None:
    with serve(always(encode(b"", status="429 Wait"), keeps=True)) as wary, serve(always(encode(JSON_OK))) as server:
        for lane, url in ((1, wary.url), (2, server.url)):
            window.open_lane(lane, 1)
            window.add(lane, make_requests(url, 20))
        assert [window.look_at(lane).is_stopped for lane in (1, 2)] == [False, False]
        counted = Counter((lane, asked) for lane, _, asked in take_all(window))
        assert [window.look_at(lane).is_stopped for lane in (1, 2)] == [True, False]
        window.add(1, make_requests(wary.url, 3))
        assert [asked for _, _, asked in take_all(window)] == [_UNSENT] * 3
        assert len(wary.requests) == 1
    assert counted[1, Answer(429, b"")] == 1
    assert counted[1, _UNSENT] == 19
    assert counted[2, _UNSENT] == 0


def test_a_judgement_that_fails_lets_nothing_more_out(transport: Transport) -> None:
    def fail(asked: Asked) -> bool:
        raise LookupError(asked)

    with (
        serve(always(encode(JSON_OK))) as server,
        closing(transport.open_window(timeout_seconds=PATIENCE, stop_after=fail)) as window,
    ):
        window.open_lane(1, 1)
        window.add(1, make_requests(server.url, 3))
        taken = []
        with suppress(LookupError):  # a transport may judge in `take`, or in a thread of its own
            taken += window.take(PATIENCE)
        taken += take_all(window)
        assert Counter(asked for _, _, asked in taken) == {_OK: 1, _UNSENT: 2}
        assert len(server.requests) == 1


def test_the_next_request_leaves_while_the_caller_is_busy_with_an_answer(window: Window) -> None:
    gate = Gate()
    with serve(gate.speak) as server:
        window.open_lane(1, 1)
        window.add(1, [Request(0, f"{server.url}/free"), Request(1, f"{server.url}/held")])
        assert window.take(PATIENCE) == [(1, 0, _OK)]
        gate.wait_for(1)
        gate.open()
        assert window.take(PATIENCE) == [(1, 1, _OK)]


def test_each_lane_has_its_own_number_under_way(window: Window) -> None:
    gate = Gate()
    with serve(gate.speak) as server:
        for lane, parallel in ((1, 3), (2, 5)):
            window.open_lane(lane, parallel)
            window.add(lane, make_requests(f"{server.url}/held/{lane}", 20))
        wait_until_held(window, gate, 8)
        window.open_lane(1, 4)
        wait_until_held(window, gate, 1)
        for _ in range(5):
            assert window.take(0.01) == []
        assert Counter(head[10:11] for head in server.requests) == {b"1": 4, b"2": 5}
        gate.open()
        assert len(take_all(window)) == 40


def test_a_thousand_answers_out_of_order_find_their_requests(transport: Transport) -> None:
    def speak(conversation: Conversation) -> None:
        chance = random.Random()
        while head := conversation.read_request():
            time.sleep(chance.choice((0.0, 0.001, 0.01)))  # the disorder that this is about
            conversation.send(encode(head.split()[1]))

    with serve(speak) as server, closing(transport.open_window(timeout_seconds=PATIENCE)) as window:
        for lane in range(5):
            window.open_lane(lane, 6)
            window.add(lane, make_requests(f"{server.url}/{lane}", 200))
        taken = take_all(window)
    assert len(taken) == len({(lane, tag) for lane, tag, _ in taken}) == 1000
    assert [tag for lane, tag, _ in taken if lane == 0] != list(range(200))
    assert all(asked == Answer(200, b"/%d/%d" % (lane, tag)) for lane, tag, asked in taken)


def test_a_caller_who_stays_away_for_a_while_loses_nothing(window: Window) -> None:
    with serve(always(encode(JSON_OK), keeps=True)) as server:
        window.open_lane(1, 4)
        for _ in range(5):
            window.add(1, make_requests(server.url, 10))
            window.take(0)
            time.sleep(0.05)  # settling, as it were
        assert all(asked == _OK for _, _, asked in take_all(window))


def test_taking_where_nothing_is_awaited_gives_nothing_at_once(window: Window) -> None:
    window.open_lane(1, 1)
    assert window.take(3600) == []


def test_taking_without_patience_gives_what_there_is(window: Window) -> None:
    gate = Gate()
    with serve(gate.speak) as server:
        window.open_lane(1, 1)
        window.add(1, make_requests(f"{server.url}/held", 1))
        assert window.take(0) == []
        wait_until_held(window, gate, 1)
        gate.open()
        assert take_all(window) == [(1, 0, _OK)]


def test_requests_behind_hanging_ones_come_back_unsent_while_those_still_hang(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "LATEST_SECONDS", 0.2)
    gate = Gate()
    with serve(gate.speak) as server:
        window.open_lane(1, 1)
        window.add(1, make_requests(f"{server.url}/held", 3))
        assert [asked for _, _, asked in window.take(PATIENCE)] == [_UNSENT] * 2
        assert len(window) == 1
        gate.open()


def test_a_request_whose_moment_is_long_past_is_not_sent(window: Window) -> None:
    with serve(always(encode(JSON_OK))) as server:
        window.open_lane(1, 1)
        window.add(1, [Request(0, server.url, send_at=time.monotonic() - pace.LATEST_SECONDS - 1)])
        assert take_all(window) == [(1, 0, _UNSENT)]
        assert server.requests == []


def test_a_lane_that_was_stopped_and_emptied_is_gone(window: Window) -> None:
    window.open_lane(1, 1)
    window.stop_lane(1)
    window.stop_lane(1)
    with pytest.raises(KeyError):
        window.add(1, [])


def test_closing_drops_what_is_under_way_with_its_connections(transport: Transport, window: Window) -> None:
    gone = threading.Event()
    came = threading.Event()

    def speak(conversation: Conversation) -> None:
        conversation.read_request()
        came.set()
        conversation.wait_for_hangup()
        gone.set()

    with serve(speak) as server:
        window.open_lane(1, 1)
        window.add(1, make_requests(server.url, 3))
        while not came.is_set():
            window.take(0.01)
        window.close()
        assert gone.wait(PATIENCE)
        assert len(server.requests) == 1
    with serve(always(encode(JSON_OK))) as server, closing(transport.open_window(timeout_seconds=PATIENCE)) as another:
        another.open_lane(1, 1)
        another.add(1, make_requests(server.url, 1))
        assert take_all(another) == [(1, 0, _OK)]


def test_two_windows_do_not_meet(transport: Transport) -> None:
    with serve(always(encode(JSON_OK), keeps=True)) as server:
        windows = [transport.open_window(timeout_seconds=PATIENCE) for _ in range(2)]
        for number, window in enumerate(windows):
            window.open_lane(1, 2)
            window.add(1, make_requests(server.url, 3 + number))
        assert [len(take_all(window)) for window in windows] == [3, 4]
        for window in windows:
            window.close()


@pytest.mark.parametrize("url", ["http://\udcff/", "http://127.0.0.1:99999/", "http://a b/", "", "file:///etc/passwd"])
def test_what_is_no_request_is_broken_and_spoils_no_other(
    window: Window, url: str, fetch: Callable[..., Asked]
) -> None:
    with serve(always(encode(JSON_OK), keeps=True)) as server:
        window.open_lane(1, 2)
        window.add(1, [Request(0, url), Request(1, server.url)])
        answers = {tag: asked for _, tag, asked in take_all(window)}
        assert answers[1] == _OK
        assert isinstance(answers[0], NoAnswer)
        assert fetch(server.url) == _OK


def test_a_request_whose_thread_fails_has_its_end_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(requests_transport, "open_session", fail)
    with (
        ThreadPoolExecutor(1) as threads,
        closing(RequestsWindow(threads, [], PATIENCE, is_429)) as window,
    ):
        window.open_lane(1, 1)
        window.add(1, make_requests("http://127.0.0.1:1", 2))
        assert take_all(window) == [(1, 0, NoAnswer(Silence.BROKEN)), (1, 1, _UNSENT)]


class Raced(list[Any]):
    """Sessions of which another thread takes the last whenever it was looked whether there is one."""

    def __bool__(self) -> bool:
        return True


def test_an_answer_comes_though_another_thread_took_the_last_session() -> None:
    with (
        serve(always(encode(JSON_OK))) as server,
        ThreadPoolExecutor(2) as threads,
        closing(RequestsWindow(threads, Raced(), PATIENCE, is_429)) as window,
    ):
        window.open_lane(1, 1)
        window.add(1, make_requests(server.url, 1))
        assert window.take(PATIENCE) == [(1, 0, _OK)]
