"""Ends a conversation whose time is up, by shutting its socket down under it.

`requests` and libpq only bound single reads: one byte every half second, or a frozen server, holds them for ever. Here
one thread per process keeps all deadlines; the blocked reader then sees an ordinary broken connection.
Used by `worker.leadbyte` for answers and by `worker.store.db` for transactions.
"""

from __future__ import annotations

import heapq
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count


@dataclass(slots=True)
class Deadline:
    """One conversation's limit. `has_passed` stays true once the watchdog has ended it."""

    end: Callable[[], None]
    has_passed: bool = False
    is_over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def strike(self) -> None:
        """End the conversation, unless it is over already."""
        with self._lock:  # against `dismiss`: a socket handed back to its pool must not be shut down
            if not self.is_over:
                self.has_passed = True
                self.end()

    def dismiss(self) -> None:
        """The conversation ended by itself."""
        with self._lock:
            self.is_over = True


class Watchdog:
    """Keeps deadlines in a heap; its thread starts with the first one, and anew in a forked child."""

    def __init__(self) -> None:
        self._order = count()
        self._forget_parent()
        # A forked child inherits the heap but not the thread, and perhaps a lock that somebody held.
        os.register_at_fork(after_in_child=self._forget_parent)

    def _forget_parent(self) -> None:
        self._wake = threading.Condition()
        self._heap: list[tuple[float, int, Deadline]] = []
        self._is_running = False

    @contextmanager
    def limit(self, seconds: float, end: Callable[[], None]) -> Iterator[Deadline]:
        """Call `end` (from another thread) if the block is still running after `seconds`."""
        deadline = Deadline(end)
        self._add(time.monotonic() + seconds, deadline)
        try:
            yield deadline
        finally:
            deadline.dismiss()

    def _add(self, at: float, deadline: Deadline) -> None:
        with self._wake:
            heapq.heappush(self._heap, (at, next(self._order), deadline))
            if not self._is_running:
                threading.Thread(target=self._keep, name="watchdog", daemon=True).start()
                self._is_running = True
            elif self._heap[0][2] is deadline:
                self._wake.notify()

    def _keep(self) -> None:
        while True:
            for deadline in self._wait_for_passed():
                # One conversation that can't be ended must not disarm the deadlines of all others.
                with suppress(Exception):
                    deadline.strike()

    def _wait_for_passed(self) -> list[Deadline]:
        with self._wake:
            self._forget_dismissed()
            now = time.monotonic()
            self._wake.wait(timeout=self._heap[0][0] - now if self._heap else None)
            passed = []
            now = time.monotonic()
            while self._heap and self._heap[0][0] <= now:
                passed.append(heapq.heappop(self._heap)[2])
            return passed

    def _forget_dismissed(self) -> None:
        while self._heap and self._heap[0][2].is_over:
            heapq.heappop(self._heap)


watchdog = Watchdog()


def shut_down(fileno: int) -> None:
    """Shut the socket behind a file descriptor down in both directions, leaving the descriptor to its owner."""
    if fileno < 0:
        return
    try:
        with socket.socket(fileno=os.dup(fileno)) as twin:
            twin.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it was closed in the meantime, which is all we wanted
