"""The tail beyond what was seen often: a generalised Pareto distribution, fitted to the ages above a threshold.

Exponential and power-law tails are both of that family (Pickands 1975). Fitted by the quasi-Bayesian method of Zhang
and Stephens, "A new and efficient estimation method for the generalized Pareto distribution", 2009: no iteration that
may fail to converge, good from some ten observations, and better than none from five. They take the mean of the
candidates; here all are kept, each with its odds, since the last poll that pays for itself depends on the heaviest tail
that is still likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, log1p, sqrt

FEWEST = 5.0
MILD = 3.0  # as if so many more observations had an exponential tail
MEAN = 0.1  # odds of the mean
DISBELIEVED = 0.5  # of a shape that has an end; the evenly spread have -1
UNLIKELY = 1e-4  # odds of a candidate that is left out


@dataclass(frozen=True, slots=True)
class Candidate:
    """P(excess > y) = (1 + shape · y / scale)^(-1/shape), and exp(-y / scale) for shape 0."""

    shape: float
    scale: float
    odds: float

    def survive(self, excess: float) -> float:
        """The share of the tail that lies beyond this excess, if this is the tail."""
        if abs(self.shape) < 1e-6:  # noqa: PLR2004 - so near to the limit that the formula would lose its digits
            return exp(-excess / self.scale)
        stretched = self.shape * excess / self.scale
        return exp(-log1p(stretched) / self.shape) if stretched > -1 else 0.0


@dataclass(frozen=True, slots=True)
class Tail:
    """What the candidates predict together."""

    candidates: Sequence[Candidate]

    def survive(self, excess: float) -> float:
        """The share of the tail that lies beyond this excess."""
        return sum(each.odds * each.survive(excess) for each in self.candidates)


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
    likelihoods = [exp(fit - max(fits)) for fit in fits]
    odds = [likelihood / sum(likelihoods) for likelihood in likelihoods]
    mean = sum(theta * odd for theta, odd in zip(thetas, odds, strict=True))
    shape = _fit_shape(mean, excesses, weights, total)
    fitted = [*zip(thetas, shapes, (odd * (1 - MEAN) for odd in odds), strict=True), (mean, shape, MEAN)]
    return Tail([Candidate(_moderate(k, total), -k / theta, odd) for theta, k, odd in fitted if odd > UNLIKELY])


def _moderate(shape: float, total: float) -> float:
    """A negative shape says that nothing comes later than some age, which is dear if wrong: only half believed.

    A lognormal looks so, too, as far as it is seen; that the evenly spread ends is plain.
    """
    mild = shape * total / (total + MILD)
    return max(mild, min(0.0, mild + DISBELIEVED))


def _fit_shape(theta: float, excesses: Sequence[float], weights: Sequence[float], total: float) -> float:
    return sum(w * log1p(-theta * y) for y, w in zip(excesses, weights, strict=True)) / total


def _find_quartile(excesses: Sequence[float], weights: Sequence[float], total: float) -> float:
    reached = 0.0
    for excess, weight in zip(excesses, weights, strict=True):
        reached += weight
        if reached >= total / 4:
            return excess
    return 0.0
