"""When to ask again: rungs that only climb, a backoff that only grows, jitter within its bounds."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.backoff import (
    BEYOND_LADDER,
    FAILURE_BASE,
    FAILURE_CAP,
    JITTER,
    LADDER,
    SLOWEST,
    UNKNOWN_STATUS_GAP,
    LadderSchedule,
    delay_after_failure,
    delay_after_not_yet,
    spread,
)
from worker.domain.lifecycle import State

chances = st.floats(0, 1, exclude_max=True)
ages = st.timedeltas(timedelta(days=-1), timedelta(days=3650))
MIDDLE = 0.5  # the chance that leaves a delay as it is


@given(ages)
def test_the_next_age_is_always_later(age: timedelta) -> None:
    assert LadderSchedule().next_poll_age(age) > age


@given(st.tuples(ages, ages).map(sorted))
def test_an_older_lead_is_never_looked_at_earlier(two: list[timedelta]) -> None:
    younger, older = (LadderSchedule().next_poll_age(age) for age in two)
    assert younger <= older


def test_the_ladder_is_climbed_rung_by_rung_and_then_every_hour() -> None:
    climbed = [LadderSchedule().next_poll_age(age) for age in (timedelta(0), *LADDER)]
    assert climbed == [*LADDER, LADDER[-1] + BEYOND_LADDER]


def test_the_rungs_never_draw_closer() -> None:
    gaps = [after - before for before, after in pairwise((timedelta(0), *LADDER))]
    assert all(gap > timedelta(0) for gap in gaps)
    assert all(later >= earlier for earlier, later in pairwise(gaps[1:]))


@pytest.mark.parametrize(("late", "expected"), [(2.9, 4), (3.1, 7), (6, 12), (3599, 3599 + 3600)])
def test_a_rung_nearly_reached_counts_as_taken(late: float, expected: float) -> None:
    assert LadderSchedule().next_poll_age(timedelta(seconds=late)) == timedelta(seconds=expected)


@given(st.integers(-5, 10**6), chances)
def test_a_failures_delay_is_bounded(streak: int, chance: float) -> None:
    assert FAILURE_BASE / 2 <= delay_after_failure(streak, chance) <= FAILURE_CAP


@given(st.integers(0, 10**6), chances)
def test_one_more_failure_never_shortens_the_delay(streak: int, chance: float) -> None:
    assert delay_after_failure(streak + 1, chance) >= delay_after_failure(streak, chance)


@given(st.integers(1, 50), chances)
def test_a_failures_jitter_is_the_upper_half(streak: int, chance: float) -> None:
    whole = 2 * delay_after_failure(streak, 0)
    assert whole / 2 <= delay_after_failure(streak, chance) <= whole


@given(st.timedeltas(timedelta(0), timedelta(days=3650)), chances)
def test_jitter_moves_a_delay_by_its_share_at_most(delay: timedelta, chance: float) -> None:
    assert abs(spread(delay, chance) - delay) <= delay * JITTER + timedelta.resolution


@given(ages, st.sampled_from(State), st.none() | st.just(UNKNOWN_STATUS_GAP), chances)
def test_not_yet_always_means_later(age: timedelta, state: State, slowest: timedelta | None, chance: float) -> None:
    assert delay_after_not_yet(LadderSchedule(), age, state, slowest=slowest, chance=chance) > timedelta(0)


@pytest.mark.parametrize(
    ("state", "slowest", "seconds"),
    [
        (State.QUEUED, None, 2),
        (State.PENDING, None, 2),
        (State.QUARANTINED, None, SLOWEST[State.QUARANTINED].total_seconds()),
        (State.QUEUED, UNKNOWN_STATUS_GAP, 900),
        (State.QUARANTINED, UNKNOWN_STATUS_GAP, 900),
    ],
)
def test_what_waits_for_people_is_looked_at_slowly(state: State, slowest: timedelta | None, seconds: float) -> None:
    delay = delay_after_not_yet(LadderSchedule(), timedelta(0), state, slowest=slowest, chance=MIDDLE)
    assert delay == timedelta(seconds=seconds)
