"""When each request of a lane may leave: at its moment, and never in a bunch with others that were delayed.

Used by `worker.leadbyte.lanes`. The moments were reserved by `worker.store.claims` under the account's budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

# What comes so late has lost its place in the budget: moments are reserved for requests that have room to leave, so
# only a process that was stopped, or starved, comes late.
LATEST_SECONDS = 1.0
# Lateness that may be made up: a timer's coarseness, or a caller who was settling leads meanwhile, must not slow a lane
# of hundreds a second down. Up to 50 requests a second it lets no two leave together.
SLACK_SECONDS = 0.02

_CREDIBLE = 0.8  # the budget's share rises by tenths


class Pace:
    """Lets the requests of one lane out one by one.

    When slow answers, or a process that was stopped for a while, have delayed some, those that follow don't catch up.
    """

    def __init__(self) -> None:
        self._gap = math.inf  # the shortest between two moments
        self._last = -math.inf  # when the last one left, less what may be made up

    def learn_gap(self, moments: Sequence[float], before: float | None) -> None:
        """Take note of the distances between moments that were reserved together, in ascending order.

        The one `before` them was reserved at another time: both are inexact by how long this process was held up after
        it had read the clock. So a lone moment teaches by that distance, but no gap that is much shorter than is known.
        """
        gaps = [later - sooner for sooner, later in pairwise(moments)]
        if before is not None and len(moments) == 1:
            gaps = [moments[0] - before]
            gaps = [gap for gap in gaps if gap > 0 and (self._gap == math.inf or gap >= _CREDIBLE * self._gap)]
        self._gap = min([self._gap, *gaps])

    def find_turn(self, moment: float) -> float:
        """When a request of this moment may leave, unless others leave before it."""
        # -inf and inf make no sum: the first request, or one without a second.
        return moment if math.inf in {self._gap, -self._last} else max(moment, self._last + self._gap)

    def note_departure(self, moment: float, now: float) -> None:
        """A request of this moment leaves now."""
        self._last = max(self.find_turn(moment), now - SLACK_SECONDS)


def is_too_late(moment: float, now: float) -> bool:
    """Whether a request of this moment may not leave any more."""
    return now >= moment + LATEST_SECONDS
