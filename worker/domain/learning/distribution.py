"""When leads resolve, as a function of age: a distribution made of boxes and spikes, up to the deadline.

What is still open at the deadline never resolves. Neighbours: `estimate` makes it, `optimum` asks it what polls cost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

Box = tuple[float, float, float]  # from, to, weight: spread evenly; a spike where both ends are the same age


@dataclass(frozen=True, slots=True)
class Distribution:
    """P(resolved by an age), linear between knots, with jumps at them.

    `ages` are the knots, from 0 to the deadline; `before` and `upto` the probabilities just below and at each; `area`
    the integral of the probability up to it, from which waiting follows without another integration.
    """

    ages: Sequence[float]
    before: Sequence[float]
    upto: Sequence[float]
    area: Sequence[float]

    @property
    def deadline(self) -> float:
        """The last age, in seconds."""
        return self.ages[-1]

    @property
    def resolving(self) -> float:
        """The share that resolves by the deadline."""
        return self.upto[-1]

    def look_up(self, age: float) -> tuple[float, float]:
        """P(resolved by `age`) and its integral up to there; constant beyond the deadline."""
        at = bisect_right(self.ages, age) - 1
        if at >= len(self.ages) - 1:
            return self.upto[-1], self.area[-1] + self.upto[-1] * (age - self.ages[-1])
        passed = age - self.ages[at]
        slope = (self.before[at + 1] - self.upto[at]) / (self.ages[at + 1] - self.ages[at])
        return self.upto[at] + slope * passed, self.area[at] + passed * (self.upto[at] + slope * passed / 2)

    def trace(self, ages: Iterable[float]) -> Iterator[tuple[float, float]]:
        """The same for each of these ascending ages, which are many: without a search for each."""
        knots, upto, area = self.ages, self.upto, self.area
        at, last = 0, len(knots) - 1
        for age in ages:
            while at < last and knots[at + 1] <= age:
                at += 1
            reached, passed, rise = upto[at], age - knots[at], 0.0
            if passed and at < last:
                rise = passed * (self.before[at + 1] - reached) / (knots[at + 1] - knots[at])
            yield reached + rise, area[at] + passed * (reached + rise / 2)

    def find_age(self, share: float) -> float:
        """The age by which this share has resolved; the deadline where it never does."""
        at = bisect_right(self.upto, share)
        if at >= len(self.ages):
            return self.deadline
        if at == 0 or share >= self.before[at]:
            return self.ages[at]
        rise = self.before[at] - self.upto[at - 1]
        part = (share - self.upto[at - 1]) / rise if rise > 0 else 0.0
        return self.ages[at - 1] + part * (self.ages[at] - self.ages[at - 1])


def pile_up(boxes: Iterable[Box], deadline: float, total: float) -> Distribution:
    """The distribution of boxes whose weights, with those of leads that never resolve, add up to `total`."""
    bends: dict[float, float] = {0.0: 0.0, deadline: 0.0}
    jumps: dict[float, float] = {}
    for low, high, weight in boxes:
        if high - low <= 1e-9 * high:
            jumps[low] = jumps.get(low, 0.0) + weight
            bends.setdefault(low, 0.0)
        else:
            rate = weight / (high - low)
            bends[low] = bends.get(low, 0.0) + rate
            bends[high] = bends.get(high, 0.0) - rate
    return _integrate(sorted(age for age in bends if age <= deadline), bends, jumps, total)


def _integrate(ages: list[float], bends: dict[float, float], jumps: dict[float, float], total: float) -> Distribution:
    rates = list(accumulate(bends[age] for age in ages))
    before, upto, area = [0.0], [jumps.get(0.0, 0.0) / total], [0.0]
    for (start, end), rate in zip(pairwise(ages), rates, strict=False):
        # Subtracting rates leaves crumbs of either sign; a probability never falls, and ends at 1.
        reached = min(1.0, upto[-1] + max(rate, 0.0) * (end - start) / total)
        area.append(area[-1] + (end - start) * (upto[-1] + reached) / 2)
        before.append(reached)
        upto.append(min(1.0, reached + jumps.get(end, 0.0) / total))
    return Distribution(ages, before, upto, area)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a schedule costs a lead on average: polls, and seconds between its resolution and the poll that sees it."""

    polls: float
    wait_seconds: float

    def at_price(self, price: float) -> float:
        """One number: a poll is worth `price` seconds of waiting."""
        return price * self.polls + self.wait_seconds


def cost_ages(times: Distribution, ages: Iterable[float]) -> Cost:
    """The cost of polling at these ascending ages, until the lead has resolved."""
    # Whoever has resolved at age 0 is seen by the first poll like everybody else.
    polls = wait = last = share = area = 0.0
    asked = list(ages)
    for age, (next_share, next_area) in zip(asked, times.trace(asked), strict=True):
        polls += 1 - share
        wait += next_area - area - share * (age - last)
        share, area, last = next_share, next_area, age
    return Cost(polls, wait)
