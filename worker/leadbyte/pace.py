"""When each request of a lane may leave: at its moment, and never in a bunch with others that were delayed.

Used by `worker.leadbyte.lanes`. The moments were reserved in Postgres under the account's budget.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort

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
LEAST_OF_WINDOW = 0.99  # the same, of the time that as many moments take as one second may see
# LeadByte counts requests as they come, on a new connection a handshake later than on others: with those that follow on
# time, one second would see one too many. So each leaves when the second before it has room for one. Of a thousand a
# second or more, those that ROOM_FOR_JITTER leaves unused are more than connect at a time.
LEAST_COUNTED_GAP = 0.001
WINDOW_SECONDS = 1.0


class Pace:
    """Lets the requests of one lane out one by one.

    When slow answers, or a process that was stopped for a while, have delayed some, those that follow don't catch up.
    """

    def __init__(self) -> None:
        self.gap_seconds = 0.0  # between two moments of the budget, as it was told last
        self._last = -math.inf  # when the last one left, less what may be made up
        self._sent: list[float] = []  # when the last ones left or, on a new connection, were sent; ascending
        self._most, self._window = 0, WINDOW_SECONDS  # so many in so long; 0: they are not counted
        self.connecting = 0  # have left, and wait for a connection

    def keep_gap(self, seconds: float) -> None:
        """From now on, so much is between two moments of the budget."""
        self.gap_seconds = seconds
        self._most = int(WINDOW_SECONDS / seconds) + 1 if seconds >= LEAST_COUNTED_GAP else 0
        # At their moments those of a small budget take longer than a second: most of that is kept for what the way to
        # LeadByte holds up, also where lateness is made up.
        self._window = max(WINDOW_SECONDS, LEAST_OF_WINDOW * self._most * seconds)

    def find_turn(self, moment: float) -> float:
        """When a request of this moment may leave, unless others leave before it; inf while it can't be known."""
        return max(moment, self._last + LEAST_OF_GAP * self.gap_seconds, self._find_room())

    def _find_room(self) -> float:
        """When the time before it has room for one more."""
        most = self._most - self.connecting
        if most <= 0:
            return math.inf if self._most else -math.inf
        return self._sent[-most] + self._window if len(self._sent) >= most else -math.inf

    def find_next_turn(self) -> float:
        """From when on others may leave, one every `gap_seconds`, who know nothing of those that have left.

        By then each second that they begin to fill has room for them, with those that left before. Inf while one that
        left waits for its connection.
        """
        if self.connecting:
            return math.inf
        turns = [self.find_turn(-math.inf)]
        for number, sent_at in enumerate(reversed(self._sent[-self._most :] if self._most else ()), start=1):
            turns.append(sent_at + self._window - (self._most - number) * self.gap_seconds)
        return max(turns)

    def note_departure(self, turn: float, now: float) -> None:
        """A request that has had its turn then leaves now."""
        self._last = max(turn, now - SLACK_SECONDS)
        if self._most:
            self._sent.append(now)
            if len(self._sent) > 3 * self._most:
                del self._sent[: -self._most]

    def note_connecting(self, left_at: float) -> None:
        """The request that left then waits for a new connection."""
        self.connecting += 1
        place = bisect_left(self._sent, left_at)
        if self._sent[place : place + 1] == [left_at]:
            del self._sent[place]

    def note_sent(self, at: float | None) -> None:
        """Its connection stands since then, and it was sent; None: it never was."""
        self.connecting -= 1
        if at is not None and self._most:
            insort(self._sent, at)


def is_too_late(moment: float, now: float) -> bool:
    """Whether a request of this moment may not leave any more."""
    return now >= moment + LATEST_SECONDS
