"""From ages at which leads were seen to resolve to the distribution behind them: smooth, yet sharp where it is sharp.

Each observation is spread evenly over the reach of its nearest neighbours (the sample-point estimator of Breiman,
Meisel and Purcell, "Variable kernel estimates of multivariate densities", 1977): wide where observations are rare,
narrow where they crowd, a spike where they coincide, and nothing in the empty space between two crowds. Among the last
few a fitted tail (`tail`) has half of the weight, and a pinch of prior reaches to the deadline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf, sqrt

from worker.domain.learning.distribution import Box, Distribution, pile_up
from worker.domain.learning.tail import Tail, fit_tail

# These were chosen by tests/benchmarks/learned_schedule.py; none of them is critical within a factor of two.
LAST_SHARE, LAST_LEAST, LAST_MOST = 0.025, 5.0, 50.0  # of the weight: where the fitted tail begins to have a say
TAIL_SHARE, TAIL_LEAST = 0.1, 10.0  # of the weight: what the tail is fitted to
TAIL_STEPS = 240
# Beyond all that was seen the odds go down with the logarithm of age. Only its shape matters where all leads resolve;
# where some never do, every poll of that far reach is paid for by them, so it must be little.
PRIOR_WEIGHT, PRIOR_MOST, PRIOR_STEPS = 10.0, 0.5, 64
MOST_POINTS = 4000


@dataclass(frozen=True, slots=True)
class Observed:
    """`weight` leads resolved between two ages, in seconds; at one age where both are the same."""

    low: float
    high: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class _Point:
    middle: float
    half: float
    weight: float


def estimate(observed: Sequence[Observed], unresolved: float, deadline: float) -> Distribution:
    """The distribution behind these observations; `unresolved` leads, by weight, were still open at the deadline."""
    points = _thin(sorted((_locate(o) for o in observed if o.low <= deadline), key=lambda point: point.middle))
    weight = sum(point.weight for point in points)
    late = unresolved + sum(o.weight for o in observed if o.low > deadline)
    prior = min(PRIOR_MOST, PRIOR_WEIGHT / (weight + 1))
    boxes = [*_spread_points(points, weight, deadline), *_spread_prior(points, prior, deadline)]
    return pile_up(_cut(boxes, deadline), deadline, weight + late + prior)


def _locate(observed: Observed) -> _Point:
    return _Point((observed.low + observed.high) / 2, (observed.high - observed.low) / 2, observed.weight)


def _thin(points: Sequence[_Point]) -> Sequence[_Point]:
    """Neighbours taken together, so that there are at most MOST_POINTS."""
    size = ceil(len(points) / MOST_POINTS)
    return points if size <= 1 else [_merge(points[n : n + size]) for n in range(0, len(points), size)]


def _merge(points: Sequence[_Point]) -> _Point:
    weight = sum(point.weight for point in points)
    middle = sum(point.middle * point.weight for point in points) / weight
    # A mean of equal ages is that age, to the last bit: a spike must stay where it is.
    middle = min(max(middle, points[0].middle), points[-1].middle)
    return _Point(middle, max(point.half for point in points), weight)


def _spread_points(points: Sequence[_Point], weight: float, deadline: float) -> Iterator[Box]:
    if not points:
        return
    last = _find_last(points, min(max(LAST_SHARE * weight, LAST_LEAST), LAST_MOST))
    fitted = points[_find_last(points, max(TAIL_SHARE * weight, TAIL_LEAST)) :]
    threshold = fitted[0].middle
    tail = fit_tail([point.middle - threshold for point in fitted], [point.weight for point in fitted])
    for n, (point, reach) in enumerate(zip(points, _measure_reaches(points, sqrt(weight)), strict=True)):
        share = 0.5 if tail is not None and n >= last else 1.0
        yield from _reflect(point.middle - point.half - reach, point.middle + point.half + reach, point.weight * share)
    if tail is not None:
        rest = sum(point.weight for point in points[last:]) / 2
        yield from _spread_tail(tail, threshold, points[last].middle, rest, deadline)


def _find_last(points: Sequence[_Point], wanted: float) -> int:
    """Where the last points that weigh so much together begin."""
    found, at = 0.0, len(points)
    while at > 0 and found < wanted:
        at -= 1
        found += points[at].weight
    return at


def _measure_reaches(points: Sequence[_Point], wanted: float) -> Iterator[float]:
    """How far from each point one must go to gather that weight."""
    ends = _Point(-inf, 0, 0), _Point(inf, 0, 0)
    fenced = [ends[0], *points, ends[1]]
    for n, point in enumerate(points, start=1):
        down, up, found, reach = n - 1, n + 1, point.weight, 0.0
        while found < wanted:
            below, above = point.middle - fenced[down].middle, fenced[up].middle - point.middle
            nearest = min(below, above)
            if nearest == inf:
                break
            found += fenced[down].weight if below <= above else fenced[up].weight
            down, up = (down - 1, up) if below <= above else (down, up + 1)
            reach = nearest
        yield reach


def _reflect(low: float, high: float, weight: float) -> Iterator[Box]:
    """No lead resolves before it was submitted: what would is folded back."""
    if low >= 0:
        yield low, high, weight
    else:
        yield 0.0, high, weight * high / (high - low)
        yield 0.0, -low, weight * -low / (high - low)


def _spread_tail(tail: Tail, threshold: float, start: float, weight: float, deadline: float) -> Iterator[Box]:
    """The tail from `start` on as ever wider boxes."""
    steps = [(2 ** (n / 8) - 1) / (2 ** (TAIL_STEPS / 8) - 1) for n in range(TAIL_STEPS + 1)]
    ages = [start + (deadline - start) * step for step in steps]
    left = [tail.survive(age - threshold) / tail.survive(start - threshold) for age in ages]
    for (low, high), (before, after) in zip(pairwise(ages), pairwise(left), strict=True):
        if before > after and high > low:
            yield low, high, weight * (before - after)


def _spread_prior(points: Sequence[_Point], weight: float, deadline: float) -> Iterator[Box]:
    median = points[len(points) // 2].middle if points else 1.0
    start = min(max(median, 1.0), deadline / 2)
    factor = (deadline / start) ** (1 / PRIOR_STEPS)
    for n in range(PRIOR_STEPS):
        yield start * factor**n, start * factor ** (n + 1), weight / PRIOR_STEPS


def _cut(boxes: Sequence[Box], deadline: float) -> Iterator[Box]:
    for low, high, weight in boxes:
        if high <= deadline:
            yield low, high, weight
        elif low < deadline:
            yield low, deadline, weight * (deadline - low) / (high - low)
