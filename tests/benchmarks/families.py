"""Distributions of resolution times whose truth is known: what the learned schedule is measured on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import erf, exp, log, sqrt

from worker.domain.learning.distribution import Distribution

DAY = 86_400.0
DEADLINE = 7 * DAY
Chance = random.Random


@dataclass(frozen=True, slots=True)
class Family:
    """A distribution as P(T ≤ t), as a way to draw T (infinite: never), and the ages at which it jumps."""

    share: Callable[[float], float]
    draw: Callable[[Chance], float]
    jumps: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()  # where its density begins or ends


def normal_share(z: float) -> float:
    return (1 + erf(z / sqrt(2))) / 2


def lognormal(median: float, sigma: float) -> Family:
    return Family(
        lambda t: normal_share(log(t / median) / sigma) if t > 0 else 0.0,
        lambda chance: chance.lognormvariate(log(median), sigma),
    )


def exponential(mean: float) -> Family:
    return Family(lambda t: 1 - exp(-t / mean), lambda chance: chance.expovariate(1 / mean))


def weibull(scale: float, shape: float) -> Family:
    return Family(lambda t: 1 - exp(-((t / scale) ** shape)), lambda chance: chance.weibullvariate(scale, shape))


def pareto(least: float, alpha: float) -> Family:
    return Family(
        lambda t: 1 - (least / t) ** alpha if t > least else 0.0,
        lambda chance: least * chance.paretovariate(alpha),
        edges=(least,),
    )


def near_constant(mean: float, spread: float) -> Family:
    return Family(
        lambda t: normal_share((t / mean - 1) / spread), lambda chance: max(0.0, chance.gauss(mean, mean * spread))
    )


def uniform(low: float, high: float) -> Family:
    return Family(
        lambda t: min(max((t - low) / (high - low), 0.0), 1.0),
        lambda chance: chance.uniform(low, high),
        edges=(low, high),
    )


def shift(by: float, family: Family) -> Family:
    return Family(
        lambda t: family.share(t - by) if t > by else 0.0, lambda chance: by + family.draw(chance), edges=(by,)
    )


def spikes(shares: Mapping[float, float]) -> Family:
    ages, weights = list(shares), list(shares.values())
    return Family(
        lambda t: sum(share for age, share in shares.items() if age <= t),
        lambda chance: chance.choices(ages, weights)[0],
        tuple(ages),
    )


def mix(*parts: tuple[float, Family]) -> Family:
    """Each family with its share; where they do not add up to 1, the rest never resolves."""
    never = Family(lambda _: 0.0, lambda _: float("inf"))
    every = [*parts, (1 - sum(share for share, _ in parts), never)]
    return Family(
        lambda t: sum(share * family.share(t) for share, family in parts),
        lambda chance: chance.choices([f for _, f in every], [max(share, 0.0) for share, _ in every])[0].draw(chance),
        tuple(age for _, family in parts for age in family.jumps),
        tuple(age for _, family in parts for age in family.edges),
    )


FAMILIES: Mapping[str, Family] = {
    "lognormal 20 s, sigma 0.3": lognormal(20, 0.3),
    "lognormal 20 s, sigma 1": lognormal(20, 1),
    "lognormal 60 s, sigma 2": lognormal(60, 2),
    "lognormal 2 h, sigma 1.5": lognormal(7200, 1.5),
    "exponential 30 s": exponential(30),
    "exponential 6 h": exponential(21_600),
    "Weibull 0.5, 10 min": weibull(600, 0.5),
    "Weibull 3, 5 min": weibull(300, 3),
    "Pareto 1.2 from 5 s": pareto(5, 1.2),
    "Pareto 0.8 from 2 s": pareto(2, 0.8),
    "bimodal 5 s | 10 min": mix((0.7, lognormal(5, 0.5)), (0.3, lognormal(600, 0.3))),
    "bimodal 2 s | 1 day": mix((0.9, lognormal(2, 0.7)), (0.1, lognormal(DAY, 0.5))),
    "buyer tree": mix((0.5, lognormal(3, 0.4)), (0.3, near_constant(33, 0.03)), (0.2, near_constant(63, 0.03))),
    "near-constant 60 s ±1 %": near_constant(60, 0.01),
    "near-constant 1 day ±1 %": near_constant(DAY, 0.01),
    "uniform 0 to 2 min": uniform(0, 120),
    "uniform 1 h to 3 h": uniform(3600, 10_800),
    "spikes 30, 60, 90 s": spikes({30: 0.5, 60: 0.3, 90: 0.2}),
    "spikes amid lognormal": mix((0.3, spikes({30: 0.6, 60: 0.4})), (0.7, lognormal(8, 0.8))),
    "near-constant with stragglers": mix((0.998, near_constant(45, 0.02)), (0.002, lognormal(3600, 1))),
    "exponential from 20 s": shift(20, exponential(8)),
    "gamma-like, slow": mix((0.5, weibull(3000, 2)), (0.5, weibull(40_000, 1.3))),
    "half at once": mix((0.5, spikes({0.0: 1.0})), (0.5, lognormal(120, 0.8))),
    "heavy past the deadline": pareto(30, 0.4),
    "lognormal, 10 % never": mix((0.9, lognormal(40, 1))),
    "exponential 1 h, 10 % never": mix((0.9, exponential(3600))),
    "on the hour for two days": spikes({3600.0 * n: 1 / 48 for n in range(1, 49)}),
    "on the minute, ever fewer": spikes({60.0 * n: 0.1 * 0.9 ** (n - 1) for n in range(1, 400)}),
    "hourly, within 5 s": mix(*((1 / 24, uniform(3600.0 * n, 3600.0 * n + 5)) for n in range(1, 25))),
    "few late, at once": mix(
        (0.97, near_constant(4, 0.125)), (0.02, near_constant(1800, 0.003)), (0.01, near_constant(DAY, 2e-4))
    ),
    "lognormal, 2 % at half an hour": mix((0.98, lognormal(4, 0.8)), (0.02, near_constant(1800, 0.003))),
    "exponential, 10 % a day later": mix((0.9, exponential(60)), (0.1, uniform(DAY, 3 * DAY))),
    "exponential, 10 % about a day": mix((0.9, exponential(60)), (0.1, near_constant(DAY, 0.04))),
    "near-constant, 3 % in six hours": mix((0.97, near_constant(30, 0.03)), (0.03, lognormal(21_600, 0.5))),
    "bimodal, 10 % never": mix((0.6, lognormal(4, 0.5)), (0.3, lognormal(1800, 0.4))),
}


def tabulate(family: Family, points: int = 12_000) -> Distribution:
    """The truth as the product's own kind of distribution: linear between points that are dense in age and in share."""
    chance = random.Random(0)
    drawn = (family.draw(chance) for _ in range(points))
    spread = (DEADLINE * 1e-8 ** (1 - n / points) for n in range(points))
    inside = {age for age in (*drawn, *spread, *family.jumps, *family.edges) if 0 < age < DEADLINE}
    ages = [0.0, *sorted(inside), DEADLINE]
    upto = [family.share(age) for age in ages]
    before = [
        family.share(age * (1 - 1e-12)) if age in family.jumps else share for age, share in zip(ages, upto, strict=True)
    ]
    area = [0.0]
    for n in range(1, len(ages)):
        area.append(area[-1] + (ages[n] - ages[n - 1]) * (upto[n - 1] + before[n]) / 2)
    return Distribution(ages, before, upto, area)
