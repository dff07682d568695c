"""When each request of a lane may leave: at its moment, and never in a bunch with others that were delayed.

Used by `worker.leadbyte.lanes`. The moments were reserved in Postgres under the account's budget.
"""

from __future__ import annotations

import math

# What comes so late has lost its place in the budget: moments are reserved for requests that have room to leave, so
# only a process that was stopped, or starved, comes late.
LATEST_SECONDS = 1.0
# Lateness that may be made up: a timer's coarseness, or a caller who was claiming leads meanwhile, must not slow a lane
# of hundreds a second down.
SLACK_SECONDS = 0.01
# Of the budget's gap, the least that two leave apart: those that were held up come back to their moments in time.
# `worker.store.budget.ROOM_FOR_JITTER` pays for both, and a little of it is left for the way to LeadByte: in any
# second (1 + SLACK_SECONDS) * ROOM_FOR_JITTER / LEAST_OF_GAP of the budget, and one more, which together is within it.
LEAST_OF_GAP = 0.985


class Pace:
    """Lets the requests of one lane out one by one.

    When slow answers, or a process that was stopped for a while, have delayed some, those that follow don't catch up.
    """

    def __init__(self) -> None:
        self.gap_seconds = 0.0  # between two moments of the budget, as it was told last
        self._last = -math.inf  # when the last one left, less what may be made up

    def find_turn(self, moment: float) -> float:
        """When a request of this moment may leave, unless others leave before it."""
        return max(moment, self._last + LEAST_OF_GAP * self.gap_seconds)

    def find_next_turn(self) -> float:
        """When the next one may leave that has the first moment after the last one's."""
        return self.find_turn(-math.inf)

    def note_departure(self, turn: float, now: float) -> None:
        """A request that has had its turn then leaves now."""
        self._last = max(turn, now - SLACK_SECONDS)


def is_too_late(moment: float, now: float) -> bool:
    """Whether a request of this moment may not leave any more."""
    return now >= moment + LATEST_SECONDS
