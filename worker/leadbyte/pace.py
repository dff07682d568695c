"""When each request of a batch may leave: at its moment, and never in a bunch with others that were delayed.

Used by every transport. The moments were reserved by `worker.store.claims` under the account's budget.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

# What comes so late has lost its place in the budget, and its lead's lease is about to run out.
LATEST_SECONDS = 10.0


class Pace:
    """Lets the requests of one batch out one by one.

    When slow answers, or a process that was stopped for a while, have delayed some, those that follow don't catch up.
    """

    def __init__(
        self,
        moments: Sequence[float],
        read_monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """`moments` are in seconds from now, in ascending order."""
        self._stopped = threading.Event()
        # Waiting for the event is sleeping that `stop` ends.
        self._read_monotonic, self._sleep = read_monotonic, sleep or self._stopped.wait
        self._started = read_monotonic()
        self._gap = min((later - sooner for sooner, later in pairwise(moments)), default=0.0)
        self._last = -math.inf
        self._turn = threading.Lock()

    def stop(self) -> None:
        """Let nothing more out."""
        self._stopped.set()

    def wait_for_turn(self, moment: float) -> bool:
        """Sleep until it may be sent; False if it may not be sent any more: stopped, or too late."""
        due = self._started + moment
        with self._turn:
            self._sleep(max(0.0, max(due, self._last + self._gap) - self._read_monotonic()))
            now = self._read_monotonic()
            if self._stopped.is_set() or now > due + LATEST_SECONDS:
                return False
            self._last = now
            return True
