"""How hard an account may be asked: slower when LeadByte strains, not at all while it is out, faster when it answers.

Two rules, both of the account and not of any lead. *Additive increase, multiplicative decrease* (D. Chiu, R. Jain,
"Analysis of the increase and decrease algorithms", 1989) finds the share of the budget that LeadByte bears: limits are
undocumented, and silently empty answers (seen) are all it says. A *circuit breaker* (M. Nygard, "Release It!", 2007)
stops asking one that is down, but for a probe now and then. Neighbour: `worker.manners`, which keeps the pressure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

LEAST_SHARE = 0.05  # of the budget: enough to notice that it is over
INCREASE = 0.1  # of the budget, a second: from the floor to the whole budget in ten seconds
STEP_EVERY = timedelta(seconds=1)  # answers to what was sent before a step say nothing about the step
STRAIN_WEIGHT = 0.1  # of one answer in the running average
NO_STRAIN = 0.01
TOO_MUCH_STRAIN = 0.3  # four strained answers in a row, or a third of many
BREAKS_AFTER = 10  # strained answers without a good one between
RESTART_SHARE = 0.25  # what a LeadByte that has just come back is asked to bear

# Short enough that nothing is overdue for a minute once LeadByte is back.
FIRST_REST = timedelta(seconds=5)
LONGEST_REST = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Pressure:
    """What an account is asked to bear. `share` of its budget; `strain`: running average of strained answers, 0 to 1.

    `trips`: how often the breaker has opened since the last good answer.
    """

    share: float = 1.0
    strain: float = 0.0
    strained_in_a_row: int = 0
    trips: int = 0
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back of some requests: LeadByte spoke; timeouts, 5xx, empty answers; told to wait in so many words."""

    good: int = 0
    strained: int = 0
    throttled: int = 0


def weigh_answers(pressure: Pressure, answers: Answers, now: datetime) -> tuple[Pressure, timedelta | None]:
    """The pressure from now on, and for how long to ask nothing at all, if the breaker opens."""
    asked = answers.good + answers.strained + answers.throttled
    if not asked:
        return pressure, None
    if answers.good:
        return _step(replace(pressure, strained_in_a_row=0, trips=0), answers, asked, now), None
    in_a_row = pressure.strained_in_a_row + answers.strained
    # Once it has opened, a single failed probe opens it again.
    if answers.strained and (pressure.trips or in_a_row >= BREAKS_AFTER):
        rest = min(FIRST_REST * 2 ** min(pressure.trips, 10), LONGEST_REST)
        tripped = Pressure(min(pressure.share, RESTART_SHARE), trips=min(pressure.trips + 1, 1000), changed_at=now)
        return tripped, rest
    return _step(replace(pressure, strained_in_a_row=in_a_row), answers, asked, now), None


def _step(pressure: Pressure, answers: Answers, asked: int, now: datetime) -> Pressure:
    kept = (1 - STRAIN_WEIGHT) ** asked
    strain = pressure.strain * kept + (1 - answers.good / asked) * (1 - kept)
    # Nothing but good answers for a while is no strain at all: then there is nothing new to write down.
    pressure = replace(pressure, strain=strain if strain > NO_STRAIN else 0.0)
    if pressure.changed_at is not None and timedelta(0) <= now - pressure.changed_at < STEP_EVERY:
        return pressure
    if strain > TOO_MUCH_STRAIN or answers.throttled:
        return replace(pressure, share=max(LEAST_SHARE, pressure.share / 2), changed_at=now)
    if strain < TOO_MUCH_STRAIN / 2 and pressure.share < 1:
        return replace(pressure, share=min(1.0, pressure.share + INCREASE), changed_at=now)
    return pressure
