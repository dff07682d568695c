"""What a learned schedule is measured against: the best of a hundred exponential backoffs, tuned by hand as it were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from worker.domain.learning.distribution import Cost, Distribution, cost_ages

STARTS = (1.0, 2.0, 5.0, 15.0, 60.0)
FACTORS = (1.2, 1.5, 2.0, 3.0)
CAPS = (60.0, 300.0, 900.0, 3600.0, 21600.0)


@dataclass(frozen=True, slots=True)
class Exponential:
    """The first poll after `start` seconds, each gap `factor` times the one before, at most `cap` seconds."""

    start: float
    factor: float
    cap: float

    def list_ages(self, deadline: float) -> Iterator[float]:
        """Its poll ages; the last is the deadline."""
        age, gap = 0.0, self.start
        while (age := age + gap) < deadline:
            yield age
            gap = min(gap * self.factor, self.cap)
        yield deadline


def list_exponentials() -> list[Exponential]:
    """One hundred of them."""
    return [Exponential(*setting) for setting in product(STARTS, FACTORS, CAPS)]


def find_best_exponential(times: Distribution, price: float) -> tuple[Exponential, Cost]:
    """The cheapest of the hundred for this distribution and price."""
    costs = ((each, cost_ages(times, each.list_ages(times.deadline))) for each in list_exponentials())
    return min(costs, key=lambda pair: pair[1].at_price(price))
