"""When to ask again: a readable ladder of ages for "not yet", an exponential backoff for failures; both with jitter.

`Schedule` is the seam: a learned schedule is another implementation. Ages count from the moment the lead is watched
(intake, redrive, or an action on it). Neighbour: `worker.domain.decide`.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import timedelta
from typing import Protocol

from worker.domain.lifecycle import State


def _ages(*seconds: float) -> tuple[timedelta, ...]:
    return tuple(timedelta(seconds=second) for second in seconds)


# LeadByte's own verdict takes about a second, buyers' answers seconds to minutes, people hours to days.
LADDER = _ages(2, 4, 7, 12, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600, 900, 1200, 1800, 2700, 3600)
BEYOND_LADDER = timedelta(hours=1)
_NO_TIME = timedelta(0)
# A rung less than half a gap away counts as taken, so that polls never bunch: the age up to which each is still ahead.
_AHEAD_UNTIL = [(rung + before) / 2 for rung, before in zip(LADDER, (_NO_TIME, *LADDER), strict=False)]

SLOWEST = {State.QUARANTINED: timedelta(minutes=5)}  # held for minutes to days; a person decides
UNKNOWN_STATUS_GAP = timedelta(minutes=15)  # the word is news to us; a person must read it before polls can help

FAILURE_BASE = timedelta(seconds=5)
FAILURE_CAP = timedelta(minutes=10)
JITTER = 0.1  # ±10 %: enough to break up leads submitted together, too little to unsettle the ladder
# Of an age that was computed, never early: it costs waiting, and 5 % of an hour are three minutes for all that resolve
# just before the age. Who was submitted together is broken up by the account's pace.
MOST_EXACT_JITTER = timedelta(seconds=0.2)


class Schedule(Protocol):
    """Decides at which age an open lead is next looked at; `name` is what `show` calls it."""

    @property
    def name(self) -> str:
        """For people: "the default schedule"."""

    @property
    def is_exact(self) -> bool:
        """Whether its ages lie just behind something, so that a poll a little early would miss it."""

    def next_poll_age(self, age: timedelta) -> timedelta:
        """The next age to poll at, later than `age`."""


class LadderSchedule:
    """The default: the rungs of LADDER, then every hour."""

    name = "the default schedule"
    is_exact = False

    def next_poll_age(self, age: timedelta) -> timedelta:
        """The next rung above `age` that is not too near."""
        place = bisect_left(_AHEAD_UNTIL, age)
        return LADDER[place] if place < len(LADDER) else age + BEYOND_LADDER


DEFAULT_SCHEDULE = LadderSchedule()


def delay_after_not_yet(
    schedule: Schedule,
    age: timedelta,
    state: State,
    *,
    slowest: timedelta | None,
    chance: float,
    is_hurried: bool = False,
) -> timedelta:
    """How long to snooze an open lead of this age; `chance` in [0, 1) picks the jitter.

    One that is hurried, since somebody acted on it, is not looked at as seldom as its state allows.
    """
    gap = schedule.next_poll_age(age) - age
    floor = max(_NO_TIME if is_hurried else SLOWEST.get(state, _NO_TIME), slowest or _NO_TIME)
    if schedule.is_exact and gap >= floor:
        return gap + min(gap * JITTER / 2, MOST_EXACT_JITTER) * chance
    return spread(max(gap, floor), chance)


def delay_after_failure(failure_streak: int, chance: float) -> timedelta:
    """How long to wait after the n-th failure in a row: 5 s doubling to 10 min, its upper half drawn by `chance`.

    "Equal jitter" of M. Brooker, "Exponential Backoff and Jitter", 2015.
    """
    doublings = min(max(failure_streak, 1) - 1, 20)
    ceiling: timedelta = min(FAILURE_BASE * 2**doublings, FAILURE_CAP)
    return ceiling / 2 + ceiling / 2 * chance


def spread(delay: timedelta, chance: float) -> timedelta:
    """The delay, moved by up to ±JITTER."""
    return delay * (1 + JITTER * (2 * chance - 1))
