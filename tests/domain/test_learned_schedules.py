"""The learned schedule: near the optimum for distributions it never saw, sound on odd samples, true to its bounds."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from math import inf

import pytest

from tests.benchmarks.families import (
    DAY,
    DEADLINE,
    FAMILIES,
    Family,
    exponential,
    lognormal,
    mix,
    near_constant,
    spikes,
    tabulate,
    uniform,
)
from tests.benchmarks.learned_schedule import PRICES, learn
from worker.domain.backoff import LadderSchedule, Schedule, delay_after_not_yet
from worker.domain.learning.bounds import UNBOUNDED, Bounds
from worker.domain.learning.distribution import Distribution, cost_ages
from worker.domain.learning.estimate import Observed, estimate
from worker.domain.learning.exponentials import list_exponentials
from worker.domain.learning.optimum import make_grid, plan_polls
from worker.domain.learning.samples import learn_times, observe, read_sample
from worker.domain.learning.schedule import (
    LearnedSchedule,
    list_ages,
    make_ages,
    make_plan,
    make_plan_within,
)
from worker.domain.lifecycle import State
from worker.errors import UsageError

MEASURED = [
    "lognormal 20 s, sigma 1",
    "lognormal 60 s, sigma 2",
    "exponential 6 h",
    "Weibull 0.5, 10 min",
    "Weibull 3, 5 min",
    "Pareto 1.2 from 5 s",
    "bimodal 5 s | 10 min",
    "buyer tree",
    "near-constant 60 s ±1 %",
    "uniform 0 to 2 min",
    "spikes 30, 60, 90 s",
    "lognormal, 10 % never",
    "on the hour for two days",
    "on the minute, ever fewer",
    "few late, at once",
    "lognormal, 2 % at half an hour",
    "exponential, 10 % a day later",
]


@pytest.mark.parametrize("name", MEASURED)
def test_from_two_thousand_leads_the_cost_is_near_the_optimum_and_below_any_exponential(name: str) -> None:
    truth = tabulate(FAMILIES[name], points=3_000)
    learned = learn(FAMILIES[name], 2_000, seed=11)
    exponentials = [cost_ages(truth, each.list_ages(DEADLINE)) for each in list_exponentials()]
    for price in PRICES:
        cost = cost_ages(truth, plan_polls(learned, price)).at_price(price)
        assert cost <= 1.05 * cost_ages(truth, plan_polls(truth, price)).at_price(price)
        assert cost <= 1.03 * min(each.at_price(price) for each in exponentials)


@pytest.mark.parametrize("seed", [21, 27])
def test_where_some_never_resolve_polls_reach_as_far_as_a_tail_that_is_still_likely(seed: int) -> None:
    family = FAMILIES["lognormal, 10 % never"]
    truth, learned = tabulate(family, points=3_000), learn(family, 2_000, seed)
    cost = cost_ages(truth, plan_polls(learned, 30)).at_price(30)
    assert cost <= 1.2 * cost_ages(truth, plan_polls(truth, 30)).at_price(30)


def compare_with_optimum(family: Family, price: float, seed: int) -> float:
    """What a schedule learned from 2,000 leads costs, as a multiple of the optimum."""
    truth, learned = tabulate(family, points=3_000), learn(family, 2_000, seed)
    ages = plan_polls(learned, price)
    return cost_ages(truth, ages).at_price(price) / cost_ages(truth, plan_polls(truth, price)).at_price(price)


@pytest.mark.parametrize("seed", [3, 8])
def test_what_comes_just_after_a_small_crowd_is_not_waited_for_until_the_next(seed: int) -> None:
    late = mix((0.976, near_constant(4, 0.125)), (0.02, near_constant(1800, 0.003)), (0.004, near_constant(DAY, 2e-4)))
    assert compare_with_optimum(late, 1, seed) <= 1.03


@pytest.mark.parametrize("price", [5, 300])
def test_where_leads_plainly_end_and_some_never_do_few_polls_look_beyond_the_end(price: float) -> None:
    assert compare_with_optimum(mix((0.9, uniform(0, 100))), price, seed=11) <= 1.055


@pytest.mark.parametrize("seed", [2, 3])
def test_the_end_of_a_burst_before_a_long_empty_stretch_is_polled_once(seed: int) -> None:
    assert compare_with_optimum(FAMILIES["hourly, within 5 s"], 1, seed) <= 1.12


@pytest.mark.parametrize("family", [lognormal(3, 0.7), near_constant(45, 0.01)])
def test_whole_seconds_may_be_when_leads_resolve(family: Family) -> None:
    whole = spikes({float(n): family.share(n + 0.5) - family.share(n - 0.5) for n in range(200)})
    assert compare_with_optimum(whole, 1, seed=11) <= 1.09


def test_rounded_to_one_second_a_crowd_keeps_its_tail() -> None:
    learned = learn_times([19.0] * 9 + [20.0] * 1160 + [21.0] * 10, 60, DEADLINE)
    assert 0.0001 < learned.resolving - learned.look_up(22.5)[0] < 0.001


@pytest.mark.parametrize("price", [1, 5, 30])
def test_a_crowd_narrower_than_the_seconds_it_is_rounded_to_is_not_half_missed(price: float) -> None:
    narrow, exact = tabulate(near_constant(30, 0.001), points=3_000), tabulate(spikes({30.0: 1.0}), points=3_000)
    ages = plan_polls(learn_times([30.0] * 2000, 0, DEADLINE), price)
    assert cost_ages(narrow, ages).at_price(price) <= 2 * cost_ages(narrow, plan_polls(narrow, price)).at_price(price)
    assert cost_ages(exact, ages).at_price(price) <= 1.001 * price
    assert plan_polls(learn_times([30.0] * 1400, 600, DEADLINE), price)[:2] != [30.0, 30.5]  # dear: 600 pay for it


def cost_by_hand(times: Sequence[float], ages: Sequence[float], price: float) -> float:
    seen = [bisect_left(ages, time) for time in times]
    polls = sum(min(at + 1, len(ages)) for at in seen)
    waits = sum(ages[at] - time for at, time in zip(seen, times, strict=True) if at < len(ages))
    return (price * polls + waits) / len(times)


def test_the_cost_of_a_schedule_is_what_counting_leads_one_by_one_gives() -> None:
    family = mix((0.6, lognormal(20, 1)), (0.2, spikes({30.0: 1.0})))
    chance = random.Random(3)
    times = [family.draw(chance) for _ in range(40_000)]
    ages = plan_polls(tabulate(family, 3_000), 5.0)
    expected = cost_ages(tabulate(family, 3_000), ages).at_price(5.0)
    assert cost_by_hand([time if time <= DEADLINE else inf for time in times], ages, 5.0) == pytest.approx(
        expected, rel=0.02
    )


@pytest.mark.parametrize("name", ["spikes 30, 60, 90 s", "buyer tree", "half at once", "heavy past the deadline"])
def test_a_distribution_traced_along_ages_is_as_it_is_looked_up_at_each(name: str) -> None:
    truth, chance = tabulate(FAMILIES[name], points=500), random.Random(1)
    drawn = [chance.expovariate(0.02) for _ in range(500)]
    ages = sorted([0.0, *drawn, *truth.ages[::5], 30.0, DEADLINE, 2 * DEADLINE])
    traced, looked_up = truth.trace(ages), map(truth.look_up, ages)
    for each, expected in zip(traced, looked_up, strict=True):
        assert each == pytest.approx(expected, rel=1e-12)


def plan_naively(times: Distribution, grid: Sequence[float], price: float, bounds: Bounds) -> float:
    """The least cost by trying every pair of grid points that the bounds allow."""
    facts = [times.look_up(age) for age in grid]  # not as the programme does it
    facts[0] = (0.0, 0.0)
    best = [0.0] * len(grid)
    for here in reversed(range(len(grid) - 1)):
        share, area = facts[here]
        furthest = grid[here] + bounds.find_gap(grid[here]) + 1e-6
        best[here] = min(
            price * (1 - share) + facts[at][1] - area - share * (grid[at] - grid[here]) + best[at]
            for at in range(here + 1, len(grid))
            if grid[at] <= furthest
        )
    return best[0]


@pytest.mark.parametrize("bounds", [UNBOUNDED, Bounds(6 * 3600, 10), Bounds(first_minute_gap=3)], ids=str)
@pytest.mark.parametrize("price", PRICES)
@pytest.mark.parametrize("name", ["bimodal, 10 % never", "spikes amid lognormal", "Pareto 1.2 from 5 s"])
def test_the_programme_finds_what_trying_all_pairs_finds(
    name: str, price: float, bounds: Bounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.domain.learning.optimum.QUANTILES", 60)
    monkeypatch.setattr("worker.domain.learning.optimum.LOG_POINTS", 60)
    monkeypatch.setattr("worker.domain.learning.optimum.MOST_POINTS", 150)
    times = learn(FAMILIES[name], 120, seed=5)
    planned = cost_ages(times, plan_polls(times, price, bounds)).at_price(price)
    # Ages are rounded up to milliseconds, which is all the difference there may be.
    assert planned == pytest.approx(plan_naively(times, make_grid(times, price, bounds), price, bounds), abs=0.02)


ODD = {
    "nothing": [],
    "one lead": [5.0],
    "at once": [0.0] * 50,
    "all the same": [60.0] * 2000,
    "at the deadline": [DEADLINE] * 40,
    "beyond the deadline": [1e9] * 40,
    "within a millisecond": [1e-9, 5e-4, 9e-4] * 20,
    "extremes": [0.0] * 30 + [DEADLINE] * 30 + [1e12] * 30,
    "very many": [float(n % 997) + 0.5 for n in range(60_000)],
}


@pytest.mark.parametrize("price", [1e-3, 5.0, 1e6])
@pytest.mark.parametrize("name", ODD)
def test_any_sample_gives_ascending_ages_up_to_the_deadline(name: str, price: float) -> None:
    plan = make_plan(estimate(observe(ODD[name]), 3, DEADLINE), price)
    assert all(0 < one < next_ for one, next_ in pairwise([1e-9, *plan.ages]))
    assert plan.ages[-1] == DEADLINE
    assert plan.cost.polls >= 0.99
    assert plan.cost.wait_seconds >= 0


def test_times_that_are_all_the_same_are_polled_at_that_age() -> None:
    assert make_plan(estimate(observe([60.0] * 500), 0, DEADLINE), 5).ages[0] == 60.0


def test_whole_seconds_are_what_was_rounded_and_a_spike_stays_one() -> None:
    rounded = observe([float(n) for n in range(10, 20) for _ in range(5)] + [15.0] * 95)
    assert Observed(9.5, 10.5, 5) in rounded
    assert Observed(15.0, 15.0, 100, is_spike=True) in rounded
    assert observe([1.23456, 2.0]) == [Observed(1.23456, 1.23456), Observed(2.0, 2.0)]


def test_a_file_may_have_blank_lines_comments_and_leads_that_never_resolved() -> None:
    sample = read_sample(["\ufeff# seconds", "", "1.5 # quick", " 2 ", "Never", "1e9"], "times.txt")
    assert (sample.times, sample.never) == ([1.5, 2.0, 1e9], 1)


def test_a_lead_that_never_resolves_is_a_line_of_a_word_or_of_an_infinite_time() -> None:
    sample = read_sample(["never", "5", "Inf", "Never # held", "infinity"], "times.txt")
    assert (list(sample.times), sample.never) == ([5.0], 4)


@pytest.mark.parametrize("line", ["abc", "-1", "nan", "-inf", "1,5", "1 2", "1_0", "\x1b[2J"])
def test_a_bad_line_is_named(line: str) -> None:
    with pytest.raises(UsageError, match=r"^times.txt, line 2: .* is no time: expected seconds") as caught:
        read_sample(["1", line], "times.txt")
    assert str(caught.value).isprintable()


def test_a_file_without_a_time_is_refused() -> None:
    with pytest.raises(UsageError, match="no resolution times"):
        read_sample(["# nothing", ""], "times.txt")


@pytest.mark.parametrize("bounds", [Bounds(3600, 10), Bounds(30, None), Bounds(None, 0.5), Bounds(60, 100)], ids=str)
@pytest.mark.parametrize("price", [0.1, 5.0, 1e5])
def test_no_gap_is_longer_than_the_bounds_allow(bounds: Bounds, price: float) -> None:
    ages = plan_polls(learn(FAMILIES["bimodal 5 s | 10 min"], 500, seed=2), price, bounds)
    for start, end in pairwise([0.0, *ages]):
        assert end - start <= bounds.find_gap(start) + 0.0011  # ages are whole milliseconds


def test_where_nothing_is_to_be_found_the_bounds_are_used_up() -> None:
    times = learn(near_constant(20_000, 0.001), 500, seed=1)
    ages = plan_polls(times, 5.0, Bounds(3600, 10))
    assert ages[:6] == [10, 20, 30, 40, 50, 60]
    assert sum(age < 19_500 for age in ages) == 6 + 19_440 // 3600


def test_a_price_rises_until_the_budget_bears_it() -> None:
    times = learn(exponential(600), 500, seed=1)
    assert make_plan_within(times, 5, inf) == make_plan(times, 5)
    tight = make_plan_within(times, 5, 3.0)
    assert tight.price > 5
    assert 2.5 < tight.cost.polls <= 3.0
    assert make_plan_within(times, 5, 0.5).cost.polls >= 1  # less than that no price buys


def test_a_learned_schedule_is_never_polled_early() -> None:
    times = learn(near_constant(60, 0.01), 500, seed=1)
    schedule = LearnedSchedule(make_ages(make_plan(times, 5).ages), timedelta(hours=1), "schedule 1 of account acme")
    first = schedule.next_poll_age(timedelta(0))
    assert timedelta(seconds=60) < first < timedelta(seconds=63)
    for chance in (0.0, 0.5, 0.999):
        delay = delay_after_not_yet(schedule, timedelta(0), State.QUEUED, slowest=None, chance=chance)
        assert first <= delay <= first + timedelta(seconds=0.2)
    assert schedule.next_poll_age(timedelta(days=8)) == timedelta(days=8, hours=1)
    assert schedule.next_poll_age(first - timedelta(seconds=0.5)) > first  # all but reached
    assert schedule.next_poll_age(first - timedelta(seconds=3)) == first  # what resolves just before it is still ahead


@pytest.mark.parametrize(
    "schedule", [LadderSchedule(), LearnedSchedule(make_ages([3, 9, 40]), timedelta(hours=9), "s")]
)
def test_a_schedule_lists_the_ages_it_polls_at(schedule: Schedule) -> None:
    ages = list(list_ages(schedule, DEADLINE))
    assert all(one < next_ for one, next_ in pairwise(ages))
    assert ages[-1] == DEADLINE
