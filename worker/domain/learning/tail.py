"""The tail beyond what was seen often: a generalised Pareto distribution, fitted to the ages above a threshold.

Exponential and power-law tails are both of that family (Pickands 1975). Fitted by the quasi-Bayesian mean of Zhang and
Stephens, "A new and efficient estimation method for the generalized Pareto distribution", 2009: no iteration that may
fail to converge, and good from some ten observations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, log1p, sqrt

FEWEST = 10.0
MILD = 3.0  # as if so many more observations had an exponential tail


@dataclass(frozen=True, slots=True)
class Tail:
    """P(excess > y) = (1 + shape · y / scale)^(-1/shape), and exp(-y / scale) for shape 0."""

    shape: float
    scale: float

    def survive(self, excess: float) -> float:
        """The share of the tail that lies beyond this excess."""
        if self.shape < 1e-6:  # noqa: PLR2004 - so near to the limit that the formula would lose its digits
            return exp(-excess / self.scale)
        return exp(-log1p(self.shape * excess / self.scale) / self.shape)


def fit_tail(excesses: Sequence[float], weights: Sequence[float]) -> Tail | None:
    """The tail of these ascending excesses above a threshold; None where they are too few, or don't vary."""
    total = sum(weights)
    quartile = _find_quartile(excesses, weights, total)
    if quartile <= 0 or total < FEWEST:
        return None
    largest, count = excesses[-1], 20 + int(sqrt(total))
    thetas = [1 / largest + (1 - sqrt(count / (n + 0.5))) / (3 * quartile) for n in range(count)]
    thetas = [theta if abs(theta) * largest > 1e-9 else -1e-9 / largest for theta in thetas]  # noqa: PLR2004 - not 0/0
    shapes = [_fit_shape(theta, excesses, weights, total) for theta in thetas]
    fits = [total * (log(-theta / shape) - shape - 1) for theta, shape in zip(thetas, shapes, strict=True)]
    odds = [exp(fit - max(fits)) for fit in fits]
    theta = sum(theta * odd for theta, odd in zip(thetas, odds, strict=True)) / sum(odds)
    shape = _fit_shape(theta, excesses, weights, total)
    # A negative shape would say that nothing can come later than some age: never believed, it is too dear if wrong.
    return Tail(max(0.0, shape * total / (total + MILD)), -shape / theta)


def _fit_shape(theta: float, excesses: Sequence[float], weights: Sequence[float], total: float) -> float:
    return sum(w * log1p(-theta * y) for y, w in zip(excesses, weights, strict=True)) / total


def _find_quartile(excesses: Sequence[float], weights: Sequence[float], total: float) -> float:
    reached = 0.0
    for excess, weight in zip(excesses, weights, strict=True):
        reached += weight
        if reached >= total / 4:
            return excess
    return 0.0
