"""How hard an account is asked after good, strained and throttled answers: laws of the rule, not of its constants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.manners import (
    BREAKS_AFTER,
    FIRST_REST,
    LEAST_SHARE,
    LONGEST_REST,
    RESTART_SHARE,
    STEP_EVERY,
    Answers,
    Pressure,
    weigh_answers,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
counts = st.integers(0, 50)
answers = st.builds(Answers, counts, counts, counts)


def weigh_all(pressure: Pressure, history: list[Answers], gap: timedelta = STEP_EVERY) -> Pressure:
    for number, some in enumerate(history):
        pressure, _ = weigh_answers(pressure, some, NOON + number * gap)
    return pressure


def test_good_answers_leave_the_whole_budget() -> None:
    assert weigh_all(Pressure(), [Answers(good=20)] * 5) == Pressure()


def test_one_strained_answer_among_good_ones_costs_nothing() -> None:
    assert weigh_all(Pressure(), [Answers(good=9, strained=1)] * 3).share == 1


def test_many_strained_answers_halve_the_share() -> None:
    assert weigh_all(Pressure(), [Answers(good=10, strained=10)]).share == 0.5


def test_being_told_to_wait_halves_the_share_at_once() -> None:
    assert weigh_all(Pressure(), [Answers(good=50, throttled=1)]).share == 0.5


def test_the_share_is_changed_once_a_second_however_many_batches_come() -> None:
    strained = [Answers(good=1, strained=9)] * 10
    assert weigh_all(Pressure(), strained, gap=timedelta(milliseconds=10)).share == 0.5


def test_a_share_that_was_cut_comes_back_step_by_step() -> None:
    cut = Pressure(share=0.5, changed_at=NOON - STEP_EVERY)
    shares = [weigh_all(cut, [Answers(good=20)] * steps).share for steps in range(1, 7)]
    assert shares == sorted(shares)
    assert shares[0] < 0.7
    assert shares[-1] == 1


def test_nothing_but_strain_opens_the_breaker_for_longer_each_time() -> None:
    pressure, rest = weigh_answers(Pressure(), Answers(strained=BREAKS_AFTER), NOON)
    rests = [rest]
    for _ in range(5):  # the probes that follow fail as well
        pressure, rest = weigh_answers(pressure, Answers(strained=1), NOON)
        rests.append(rest)
    assert rests[:3] == [FIRST_REST, FIRST_REST * 2, FIRST_REST * 4]
    assert rests[-1] == LONGEST_REST


def test_fewer_strained_answers_than_it_takes_are_added_up_over_batches() -> None:
    pressure, rest = weigh_answers(Pressure(), Answers(strained=BREAKS_AFTER - 1), NOON)
    assert rest is None
    assert weigh_answers(pressure, Answers(strained=1), NOON)[1] == FIRST_REST


def test_a_good_answer_closes_the_breaker_and_asking_begins_gently() -> None:
    tripped, _ = weigh_answers(Pressure(), Answers(strained=BREAKS_AFTER), NOON)
    back, rest = weigh_answers(tripped, Answers(good=1), NOON)
    assert (rest, back.trips, back.strained_in_a_row) == (None, 0, 0)
    assert back.share == RESTART_SHARE


@given(st.lists(answers, max_size=40))
def test_the_share_stays_within_its_bounds(history: list[Answers]) -> None:
    assert LEAST_SHARE <= weigh_all(Pressure(), history).share <= 1


@given(st.lists(answers, max_size=20))
def test_whatever_happened_good_answers_bring_the_whole_budget_back(history: list[Answers]) -> None:
    troubled = weigh_all(Pressure(), history)
    later = NOON + timedelta(hours=1)
    for second in range(30):
        troubled, rest = weigh_answers(troubled, Answers(good=20), later + second * STEP_EVERY)
        assert rest is None
    assert troubled.share == 1
    assert troubled.trips == 0
