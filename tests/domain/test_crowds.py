"""Crowds of observed ages: what stands apart says nothing of what is between, and evenly scattered points stay one."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf

import pytest

from worker.domain.learning.crowds import MOST_POINTS, Point, join_small, measure_reaches, split_crowds, thin, weigh
from worker.domain.learning.estimate import Lattice
from worker.domain.learning.samples import AS_WRITTEN, find_lattice, learn_times, observe

WEEK = 604_800.0


def scatter(*stretches: tuple[float, float, int]) -> list[Point]:
    chance = random.Random(1)
    ages = sorted(chance.uniform(low, high) for low, high, count in stretches for _ in range(count))
    return [Point(age, 0, 1) for age in ages]


def test_a_few_that_stand_far_from_the_many_are_a_crowd_of_their_own() -> None:
    crowds = split_crowds(scatter((0, 60, 500), (1800, 1805, 20), (86_400, 172_800, 100)))
    assert [len(crowd) for crowd in crowds] == [500, 20, 100]
    reaches = list(measure_reaches(crowds))
    assert max(reaches[500:520]) < 5  # none reaches over the empty space


def test_scattered_points_are_one_crowd_however_much_rarer_they_become() -> None:
    chance = random.Random(2)
    draws: list[Callable[[], float]] = [
        lambda: chance.expovariate(1),
        lambda: chance.paretovariate(0.8),
        lambda: chance.uniform(1, 2),
    ]
    for draw in draws:
        assert len(split_crowds([Point(age, 0, 1) for age in sorted(draw() for _ in range(2000))])) == 1


def test_a_stray_between_two_crowds_is_none_and_has_its_tail_with_what_comes_before() -> None:
    points = scatter((0, 60, 500), (3000, 3001, 1), (86_400, 86_401, 100))
    assert [len(crowd) for crowd in join_small(split_crowds(points))] == [501, 100]


def test_a_small_crowd_does_not_take_its_tail_from_the_one_before_it() -> None:
    points = scatter((0, 60, 500), (1800, 1805, 40), (86_400, 86_401, 8))
    assert [len(crowd) for crowd in join_small(split_crowds(points))] == [500, 40, 8]


def test_many_points_are_taken_together_and_weigh_the_same() -> None:
    points = scatter((0, 100, 3 * MOST_POINTS))
    thinned = thin(points)
    assert len(thinned) == MOST_POINTS
    assert weigh(thinned) == weigh(points)
    assert thin(points[:10]) == points[:10]


def test_no_points_are_no_crowds() -> None:
    assert list(join_small(split_crowds([]))) == []


@pytest.mark.parametrize(
    ("times", "lattice"),
    [
        ([60.0 * n for n in range(30)], Lattice(60.0)),
        ([0.5 * n for n in range(30)], Lattice(0.5)),
        ([*(60.0 * n for n in range(30)), 61.0], Lattice(1.0, AS_WRITTEN)),
        ([60.0 * n for n in range(5)], None),  # a few may be so by chance
        ([0.001 * n for n in range(1, 40)], None),
        ([1 / 3 * n for n in range(30)], None),
        ([0.0] * 30, None),
    ],
    ids=["minutes", "half seconds", "one is off", "few", "milliseconds", "no round numbers", "all at once"],
)
def test_what_all_times_are_multiples_of_is_a_lattice(times: list[float], lattice: Lattice | None) -> None:
    assert find_lattice(times) == lattice


def test_on_a_lattice_nothing_resolves_between_its_points() -> None:
    times = learn_times([60.0 * n for n in range(1, 41) for _ in range(1 + n % 3)], 0, WEEK)
    for n in range(1, 40):
        assert times.look_up(60 * n + 59)[0] - times.look_up(60 * n)[0] < 0.001  # the prior alone
        assert times.look_up(60 * n)[0] - times.look_up(60 * n - 1)[0] > 0.005


def test_a_narrow_crowd_that_was_rounded_is_no_spike() -> None:
    rounded = observe([58.0] * 4 + [59.0] * 300 + [60.0] * 1400 + [61.0] * 300 + [62.0] * 4)
    assert not any(each.is_spike for each in rounded)
    assert observe([60.0] * 1400)[0].is_spike


def test_a_crowd_at_one_age_weighs_what_its_leads_do() -> None:
    crowds = split_crowds([Point(5.0, 0, 40.0), Point(9000.0, 0, 1.0)])
    assert [weigh(crowd) for crowd in crowds] == [40.0, 1.0]
    assert all(reach < inf for reach in measure_reaches(crowds))
