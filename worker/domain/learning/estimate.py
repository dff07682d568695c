"""From ages at which leads were seen to resolve to the distribution behind them: smooth, yet sharp where it is sharp.

Each observation is spread evenly over the reach of its nearest neighbours (the sample-point estimator of Breiman,
Meisel and Purcell, "Variable kernel estimates of multivariate densities", 1977): wide where observations are rare,
narrow where they crowd, and nothing in the empty space between two crowds (`crowds`). Among the last few of each crowd
a fitted tail (`tail`) has half of the weight, and a pinch of prior reaches to the deadline. Spikes stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from worker.domain.learning.crowds import Point, join_small, measure_reaches, split_crowds, thin, weigh
from worker.domain.learning.distribution import Box, Distribution, pile_up
from worker.domain.learning.tail import Tail, fit_tail

# These were chosen by tests/benchmarks/learned_schedule.py; none of them is critical within a factor of two.
LAST_SHARE, LAST_LEAST, LAST_MOST = 0.025, 5.0, 50.0  # of a crowd: where the fitted tail begins to have a say
TAIL_SHARE, TAIL_LEAST = 0.1, 10.0  # of a crowd: what the tail is fitted to
TAIL_STEPS = 240
WIDEST_SNAPPED = 200  # multiples of the lattice
# Beyond all that was seen the odds go down with the logarithm of age. Only its shape matters where all leads resolve;
# where some never do, every poll of that far reach is paid for by them, so it must be little.
PRIOR_WEIGHT, PRIOR_MOST, PRIOR_STEPS = 10.0, 0.5, 64


@dataclass(frozen=True, slots=True)
class Observed:
    """`weight` leads resolved between two ages, in seconds; all of them exactly at `low` where it `is_spike`."""

    low: float
    high: float
    weight: float = 1.0
    is_spike: bool = False


@dataclass(frozen=True, slots=True)
class Lattice:
    """Leads resolve at multiples of so many seconds only; with these odds, the rest for those that are no spikes."""

    step: float
    odds: float = 1.0


def estimate(
    observed: Sequence[Observed], unresolved: float, deadline: float, lattice: Lattice | None = None
) -> Distribution:
    """The distribution behind these observations; `unresolved` leads, by weight, were still open at the deadline."""
    known = [each for each in observed if each.low <= deadline]
    spikes = [(each.low, each.low, each.weight) for each in known if each.is_spike]
    points = thin(sorted((_locate(each) for each in known if not each.is_spike), key=lambda point: point.middle))
    crowds = _spread_points(points, deadline)
    boxes = [*spikes, *(_snap(crowds, lattice) if lattice else crowds)]
    weight, late = sum(each.weight for each in known), sum(each.weight for each in observed if each.low > deadline)
    prior = min(PRIOR_MOST, PRIOR_WEIGHT / (weight + 1))
    boxes += _spread_prior(_find_median(known, weight), prior, deadline)
    return pile_up(_cut(boxes, deadline), deadline, weight + late + unresolved + prior)


def _locate(observed: Observed) -> Point:
    return Point((observed.low + observed.high) / 2, (observed.high - observed.low) / 2, observed.weight)


def _find_median(known: Sequence[Observed], weight: float) -> float:
    reached = 0.0
    for each in sorted(known, key=lambda each: each.low):
        reached += each.weight
        if reached >= weight / 2:
            return (each.low + each.high) / 2
    return 1.0


def _spread_points(points: Sequence[Point], deadline: float) -> Iterator[Box]:
    crowds = split_crowds(points)
    reaches = measure_reaches(crowds)
    for crowd in join_small(crowds):
        yield from _spread_crowd(crowd, list(islice(reaches, len(crowd))), deadline)


def _spread_crowd(crowd: Sequence[Point], reaches: Sequence[float], deadline: float) -> Iterator[Box]:
    wanted = min(max(LAST_SHARE * weigh(crowd), LAST_LEAST), LAST_MOST)
    last = _find_last(crowd, wanted)
    found, (threshold, tail) = weigh(crowd[last:]), _fit_crowd(crowd)
    # Half of the last few; many that were rounded to one age are more than that.
    part = 0.0 if tail is None else min(wanted, found) / found / 2
    for n, (point, reach) in enumerate(zip(crowd, reaches, strict=True)):
        share = 1.0 if n < last else 1 - part
        yield from _reflect(point.middle - point.half - reach, point.middle + point.half + reach, point.weight * share)
    if tail is not None:
        yield from _spread_tail(tail, threshold, crowd[last].middle, found * part, deadline)


def _fit_crowd(crowd: Sequence[Point]) -> tuple[float, Tail | None]:
    fitted = crowd[_find_last(crowd, max(TAIL_SHARE * weigh(crowd), TAIL_LEAST)) :]
    # From the lower end of the first: measured from its middle, those that were rounded to it would not vary.
    threshold = fitted[0].middle - fitted[0].half
    return threshold, fit_tail([point.middle - threshold for point in fitted], [point.weight for point in fitted])


def _snap(boxes: Iterable[Box], lattice: Lattice) -> Iterator[Box]:
    """Each box as spikes on the lattice; one that is wider than a lattice is worth having for stays a box."""
    step = lattice.step
    for low, high, weight in boxes:
        first, last = round(low / step), round(high / step)
        snapped = weight * lattice.odds if last - first <= WIDEST_SNAPPED else 0.0
        if snapped < weight:
            yield low, high, weight - snapped
        for n in range(first, last + 1) if snapped else ():
            inside = min(high, (n + 0.5) * step) - max(low, (n - 0.5) * step)
            share = inside / (high - low) if high > low else 1.0
            yield n * step, n * step, snapped * share


def _find_last(points: Sequence[Point], wanted: float) -> int:
    """Where the last points that weigh so much together begin."""
    found, at = 0.0, len(points)
    while at > 0 and found < wanted:
        at -= 1
        found += points[at].weight
    return at


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


def _spread_prior(median: float, weight: float, deadline: float) -> Iterator[Box]:
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
