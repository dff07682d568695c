"""The watchdog ends what hangs, leaves alone what is over, and works in a forked child."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from worker.watchdog import Deadline, Watchdog, shut_down, watchdog

AT_ONCE = 0.02
LONG = 3600.0
PATIENCE = 30.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection of which the other end says nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(PATIENCE)
        yield ours, theirs


def test_a_read_that_hangs_is_ended(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    with watchdog.limit(AT_ONCE, lambda: shut_down(ours.fileno())) as deadline:
        assert ours.recv(1) == b""
    assert deadline.has_passed


def test_a_conversation_that_ended_by_itself_is_left_alone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    kept = Watchdog()
    # Held, it is not quicker than we are, however slow the machine.
    with kept._wake, kept.limit(AT_ONCE, lambda: shut_down(ours.fileno())) as deadline:
        pass
    # A later deadline is struck after the dismissed one would have been.
    struck = threading.Event()
    with kept.limit(2 * AT_ONCE, struck.set):
        assert struck.wait(PATIENCE)
    theirs.send(b"x")
    assert ours.recv(1) == b"x"
    assert not deadline.has_passed


def test_a_dismissed_deadline_never_strikes() -> None:
    struck = threading.Event()
    deadline = Deadline(struck.set)
    deadline.dismiss()
    deadline.strike()
    assert not struck.is_set()
    assert not deadline.has_passed


def test_an_earlier_deadline_overtakes_a_later_one() -> None:
    kept = Watchdog()
    early, late = threading.Event(), threading.Event()
    with kept.limit(LONG, late.set), kept.limit(AT_ONCE, early.set):
        assert early.wait(PATIENCE)
    assert not late.is_set()


def test_many_deadlines_are_all_struck() -> None:
    kept = Watchdog()
    struck = [threading.Event() for _ in range(50)]
    limits = [kept.limit(AT_ONCE * (number % 3), event.set) for number, event in enumerate(struck)]
    for limit in limits:
        limit.__enter__()
    assert all(event.wait(PATIENCE) for event in struck)
    for limit in limits:
        limit.__exit__(None, None, None)


def test_a_conversation_that_cannot_be_ended_disarms_no_other() -> None:
    kept = Watchdog()
    tried, struck = threading.Event(), threading.Event()

    def fail() -> None:
        tried.set()
        raise RuntimeError

    with kept.limit(0, fail):
        assert tried.wait(PATIENCE)
    with kept.limit(0, struck.set):
        assert struck.wait(PATIENCE)


def test_a_failing_block_dismisses_its_deadline() -> None:
    kept = Watchdog()
    with pytest.raises(KeyError), kept.limit(LONG, lambda: None) as deadline:
        raise KeyError
    assert deadline.is_over


def test_it_works_in_a_forked_child_whose_parent_held_its_lock() -> None:
    kept = Watchdog()
    with kept.limit(LONG, lambda: None), kept._wake:
        child = os.fork()
        if child == 0:
            struck = threading.Event()
            with kept.limit(AT_ONCE, struck.set):
                os._exit(0 if struck.wait(PATIENCE) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_shutting_down_leaves_the_descriptor_to_its_owner(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    shut_down(ours.fileno())
    assert theirs.recv(1) == b""
    assert ours.fileno() >= 0


def test_shutting_down_what_is_closed_or_no_socket_is_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    number = ours.detach()
    os.close(number)
    shut_down(-1)
    shut_down(number)
    reading, writing = os.pipe()
    shut_down(reading)
    os.close(reading)
    os.close(writing)
