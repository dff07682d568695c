"""How many requests libcurl has under way: few while answers come at once, all that may be while they take long."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.leadbyte.raw_server import JSON_OK, Conversation, encode, serve
from worker.domain.answers import Answer, Asked
from worker.leadbyte.curl_transport import MOST_UNDER_WAY, CurlTransport
from worker.leadbyte.room import LEAST, PATIENCE_SECONDS, Room
from worker.leadbyte.transport import Request, Window

MOST = 512
_OK = Answer(200, JSON_OK)


@pytest.fixture
def window() -> Iterator[Window]:
    transport = CurlTransport()
    with closing(transport.open_window(timeout_seconds=60)) as window:
        yield window
    transport.close()


def make_full_room() -> Room:
    room = Room(MOST)
    while room.at_most < MOST:
        room.note_wait(PATIENCE_SECONDS)
    return room


def test_who_waits_with_all_under_way_that_may_be_soon_has_more_of_it() -> None:
    room = Room(MOST)
    assert (room.at_most, room.patience) == (LEAST, PATIENCE_SECONDS)
    room.note_wait(0.6 * PATIENCE_SECONDS)
    assert room.at_most == LEAST
    room.note_wait(0.6 * PATIENCE_SECONDS)
    assert room.at_most == 2 * LEAST


def test_who_finds_most_of_it_answered_gets_on_with_less() -> None:
    room = make_full_room()
    room.note_look(under_way=MOST, ended=MOST // 2)
    assert room.at_most == MOST
    room.note_look(under_way=MOST, ended=MOST // 2 + 1)
    assert room.at_most == MOST * 7 // 8
    for _ in range(100):
        room.note_look(under_way=10, ended=10)
    assert room.at_most == LEAST


def test_waiting_that_was_worth_it_is_forgotten() -> None:
    room = Room(MOST)
    room.note_wait(0.6 * PATIENCE_SECONDS)
    room.note_look(under_way=LEAST, ended=LEAST)
    room.note_wait(0.6 * PATIENCE_SECONDS)
    assert room.at_most == LEAST


@given(st.integers(1, MOST), st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10), st.floats(0, 1))))
def test_room_stays_within_its_bounds(most: int, seen: list[tuple[int, int, float]]) -> None:
    room = Room(most)
    for under_way, ended, waited in seen:
        room.note_look(under_way, ended)
        room.note_wait(waited)
        assert min(LEAST, most) <= room.at_most <= most
        assert room.patience > 0
        assert (room.patience == math.inf) == (room.at_most == most)


def take_all(window: Window, patience: float = 60) -> list[Asked]:
    taken: list[Asked] = []
    while len(window):
        taken += [asked for _, _, asked in window.take(patience)]
    return taken


class Crowd:
    """A server that answers nobody until so many are there."""

    def __init__(self, size: int) -> None:
        self._all_there = threading.Barrier(size)

    def speak(self, conversation: Conversation) -> None:
        while head := conversation.read_request():
            if head.startswith(b"GET /crowd"):
                self._all_there.wait(60)
            conversation.send(encode(JSON_OK))


def test_where_answers_take_long_as_many_are_under_way_as_the_lane_allows(window: Window) -> None:
    with serve(Crowd(3 * LEAST).speak) as server:
        window.open_lane(1, 3 * LEAST)
        window.add(1, [Request(tag, f"{server.url}/crowd") for tag in range(3 * LEAST)])
        assert take_all(window) == [_OK] * 3 * LEAST


def test_who_never_waits_has_no_more_under_way_than_at_first(window: Window) -> None:
    with serve(Crowd(LEAST).speak) as server:
        window.open_lane(1, MOST_UNDER_WAY)
        window.add(1, [Request(tag, f"{server.url}/crowd") for tag in range(10 * LEAST)])
        assert take_all(window, patience=0) == [_OK] * 10 * LEAST
        assert server.connections == LEAST


def test_a_lane_that_hangs_with_all_that_may_be_under_way_holds_up_no_other(window: Window) -> None:
    with serve(Crowd(LEAST + 1).speak) as server:
        window.open_lane(1, LEAST)
        window.open_lane(2, 2)
        window.add(1, [Request(tag, f"{server.url}/crowd") for tag in range(LEAST)])
        window.add(2, [Request(tag, f"{server.url}/{tag}") for tag in range(100)])
        quick: list[tuple[int, int, Asked]] = []
        while len(quick) < 100:
            quick += window.take(60)
        assert {lane for lane, _, _ in quick} == {2}
        window.add(2, [Request(0, f"{server.url}/crowd")])  # who they have waited for
        assert take_all(window) == [_OK] * (LEAST + 1)
