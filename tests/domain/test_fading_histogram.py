"""The histogram of resolution ages: it fades, follows a change, and is fair to leads whose end is not known."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest

from worker.domain.learning.estimate import estimate
from worker.domain.learning.histogram import (
    Histogram,
    Seen,
    add_leads,
    bound_bin,
    find_bin,
    has_changed,
)
from worker.domain.learning.survival import OpenLeads, list_observed

WEEK = 7 * 86_400.0


def draw(mean: float, count: int, seed: int = 1) -> list[Seen]:
    chance = random.Random(seed)
    ages = [chance.expovariate(1 / mean) for _ in range(count)]
    return [Seen(age, age) for age in ages]


@pytest.mark.parametrize("age", [0.0, 0.004, 1.0, 59.99, 3600.0, 86_400.0, WEEK])
def test_a_bin_holds_its_age_and_is_narrow(age: float) -> None:
    low, high = bound_bin(find_bin(age))
    assert low <= age < high
    assert high - low <= 0.13 * age**0.5 + 0.01


def test_old_leads_fade() -> None:
    histogram = add_leads(Histogram(), [Seen(10, 10)] * 100, kept=1)
    assert add_leads(histogram, [Seen(10, 10)] * 10, kept=0.5).weight == pytest.approx(60)


def test_what_has_faded_away_is_dropped() -> None:
    histogram = add_leads(Histogram(), [Seen(10, 10)], kept=1)
    assert add_leads(histogram, [], kept=1e-5).weight == 0


def test_more_of_the_same_is_no_change_and_other_times_are_one() -> None:
    old = add_leads(Histogram(), draw(60, 2000), kept=1)
    for seed in range(2, 40):
        assert not has_changed(old, add_leads(Histogram(), draw(60, 200, seed), kept=1))
        assert has_changed(old, add_leads(Histogram(), draw(240, 200, seed), kept=1))


@pytest.mark.parametrize("count", [8, 100])
def test_after_a_change_the_new_leads_outweigh_the_old(count: int) -> None:
    old = add_leads(Histogram(), draw(20, 5000), kept=1)
    changed = add_leads(old, draw(2000, count, seed=2), kept=0.99)
    assert changed.weight == pytest.approx(1.7 * count, abs=1)
    twice = add_leads(changed, draw(2000, 100, seed=3), kept=0.99)
    assert count_quick(twice) < 0.3 * twice.weight


def count_quick(histogram: Histogram) -> float:
    return sum(weight for number, weight in histogram.resolved.items() if number < find_bin(100))


def test_a_burst_that_ends_in_the_order_of_how_long_it_took_wipes_nothing_out() -> None:
    chance = random.Random(4)
    histogram = Histogram()
    for _ in range(4):  # days
        for count, seconds in ((700, 30), (300, 5400)):
            for _ in range(4):  # recomputations
                ages = [seconds * chance.lognormvariate(0, 0.3) for _ in range(count // 4)]
                histogram = add_leads(histogram, [Seen(age, age) for age in ages], kept=0.98)
    assert 0.05 < count_quick(histogram) / histogram.weight < 0.95


def test_a_lead_known_to_within_an_interval_goes_where_others_are() -> None:
    known = add_leads(Histogram(), [Seen(30, 30)] * 1000, kept=1)
    joined = add_leads(known, [Seen(10, 100_000)] * 50, kept=1)
    assert joined.weight == pytest.approx(1050, abs=0.1)
    assert joined.resolved[find_bin(30)] > 1045


def test_intervals_alone_give_the_distribution_back() -> None:
    polls = [0, 5, 15, 35, 75, 155, 315, 635, 1275, 1e5]
    histogram = Histogram()
    for seed in range(20):
        gaps = [bisect_left(polls, lead.open_age) for lead in draw(60, 200, seed)]
        histogram = add_leads(histogram, [Seen(polls[at - 1], polls[at]) for at in gaps], kept=0.95)
    times = estimate(*list_observed(histogram, [], 0, WEEK), WEEK)
    assert times.look_up(35)[0] == pytest.approx(1 - 2.718 ** (-35 / 60), abs=0.03)
    assert times.look_up(155)[0] == pytest.approx(1 - 2.718 ** (-155 / 60), abs=0.03)


def test_the_bins_of_our_own_polls_do_not_grow_beyond_their_neighbours() -> None:
    polls, chance, histogram = [0.0, 21.3, 40.7, 59.1, 82.9, 100.0], random.Random(7), Histogram()
    for _ in range(60):
        gaps = [bisect_left(polls, chance.uniform(1e-6, 100)) for _ in range(200)]
        histogram = add_leads(histogram, [Seen(polls[at - 1], polls[at]) for at in gaps], kept=0.9)
    for poll in polls[1:-1]:
        number = find_bin(poll)
        beside = [histogram.resolved[number + step] for step in (-3, -2, 2, 3)]
        assert histogram.resolved[number] < 1.3 * max(beside)


def test_leads_still_open_count_for_those_that_were_open_at_their_age() -> None:
    # Observed for two minutes only: a half of the leads at each moment is cut off before it resolves.
    chance = random.Random(1)
    resolved, still_open = [], []
    for _ in range(4000):
        age, watched = chance.expovariate(1 / 60), chance.uniform(0, 120)
        if age <= watched:
            resolved.append(Seen(age, age))
        else:
            still_open.append(OpenLeads(1, watched, watched))
    histogram = add_leads(Histogram(), resolved, kept=1)
    times = estimate(*list_observed(histogram, still_open, 0, WEEK), WEEK)
    assert times.look_up(60)[0] == pytest.approx(1 - 1 / 2.718, abs=0.03)
    without_them = estimate(*list_observed(histogram, [], 0, WEEK), WEEK)
    assert without_them.look_up(60)[0] > 0.75


@pytest.mark.parametrize("a_day", [500, 40_000])
def test_the_open_leads_of_a_week_do_not_outweigh_what_the_histogram_has_not_forgotten(a_day: int) -> None:
    chance = random.Random(5)
    histogram = Histogram()
    for seed in range(25):
        ended = [*draw(600, 900, seed), *(Seen(WEEK, None) for _ in range(100))]
        histogram = add_leads(histogram, ended, kept=0.5 ** (1000 / 5000))
    ages = [86_400 * number / a_day for number in range(7 * a_day)]
    under_way = [age for age in ages if chance.random() < 0.1 or age < chance.expovariate(1 / 600)]
    still_open = [OpenLeads(1, age, age) for age in under_way]
    observed, left = list_observed(histogram, still_open, a_day / 86_400 / 5000, WEEK)
    assert left / (left + sum(each.weight for each in observed)) == pytest.approx(0.1, abs=0.015)


def test_an_import_of_many_leads_says_nothing_of_those_that_are_older() -> None:
    histogram = Histogram()
    for seed in range(25):
        histogram = add_leads(histogram, draw(600, 1000, seed), kept=0.5 ** (1000 / 5000))
    just_imported = [OpenLeads(50_000, 1, 300)]
    times = estimate(*list_observed(histogram, just_imported, 60_000 / WEEK / 5000, WEEK), WEEK)
    assert times.find_age(times.resolving / 2) == pytest.approx(600 * 0.693, rel=0.1)


def test_leads_that_never_resolve_are_counted_as_such() -> None:
    leads = [*draw(60, 900), *(Seen(WEEK, None) for _ in range(100))]
    times = estimate(*list_observed(add_leads(Histogram(), leads, kept=1), [], 0, WEEK), WEEK)
    assert times.resolving == pytest.approx(0.9, abs=0.01)


def test_no_weight_is_less_than_nothing_however_steeply_they_fade() -> None:
    ended = dict.fromkeys(range(1000, 12_000, 500), 100.0)
    for age in range(10_000, 600_000, 10_000):
        still_open = [OpenLeads(400, 6000, age), OpenLeads(600, 300_000, 1e6)]
        observed, never = list_observed(Histogram(ended), still_open, 0.01, WEEK)
        assert min(each.weight for each in observed) >= 0
        assert never >= 0


def test_nothing_observed_is_nothing_known() -> None:
    assert list_observed(Histogram(), [], 0, WEEK) == ([], 0.0)
