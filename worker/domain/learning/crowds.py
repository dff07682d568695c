"""Observed ages as points, and the crowds they stand in: with empty space between two, none says a thing of the other.

A border is where the next point is much farther away than the last few were from each other. Of evenly scattered points
one in 200,000 is that far off by chance, (1 + WIDE)^(1 - FEW). Neighbour: `estimate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf, sqrt

FEW = 5.0  # by weight; fewer are no crowd
WIDE = 20.0  # times the stretch over which the last few lie
MOST_POINTS = 4000


@dataclass(frozen=True, slots=True)
class Point:
    """`weight` leads that resolved within `half` of an age, in seconds."""

    middle: float
    half: float
    weight: float


def thin(points: Sequence[Point]) -> Sequence[Point]:
    """Neighbours taken together, so that there are at most MOST_POINTS."""
    size = ceil(len(points) / MOST_POINTS)
    return points if size <= 1 else [_merge(points[n : n + size]) for n in range(0, len(points), size)]


def _merge(points: Sequence[Point]) -> Point:
    low = min(point.middle - point.half for point in points)
    high = max(point.middle + point.half for point in points)
    return Point((low + high) / 2, (high - low) / 2, weigh(points))


def split_crowds(points: Sequence[Point]) -> list[Sequence[Point]]:
    """The points, which ascend, crowd by crowd."""
    below = list(_measure_few(points))
    above = list(_measure_few([Point(-p.middle, p.half, p.weight) for p in reversed(points)]))[::-1]
    starts = [0]
    for n, (one, next_) in enumerate(pairwise(points), start=1):
        gap = (next_.middle - next_.half) - (one.middle + one.half)
        if gap > WIDE * min(below[n - 1], above[n]):
            starts.append(n)
    return [points[start:end] for start, end in pairwise([*starts, len(points)])]


def _measure_few(points: Sequence[Point]) -> Iterator[float]:
    """For each point, how long the stretch is over which it and those before it are a few; infinite: they are fewer."""
    first, weight = 0, 0.0
    for point in points:
        weight += point.weight
        while weight - points[first].weight >= FEW:
            weight -= points[first].weight
            first += 1
        reach = (point.middle + point.half) - (points[first].middle - points[first].half)
        yield reach if weight >= FEW else inf


def join_small(crowds: Sequence[Sequence[Point]]) -> Iterator[Sequence[Point]]:
    """The crowds, a few strays with what comes before them: they are the tail of that.

    A crowd joined so would take the tail from the one before it, and what comes just after that be waited for long.
    """
    joined: list[Point] = []
    for crowd in crowds:
        if joined and weigh(crowd) >= FEW:
            yield joined
            joined = []
        joined += crowd
    if joined:
        yield joined


def measure_reaches(crowds: Sequence[Sequence[Point]]) -> Iterator[float]:
    """How far from each point one must go to gather the square root of its crowd's weight."""
    points = [point for crowd in crowds for point in crowd]
    whole, at = list(_gather(points, sqrt(weigh(points)))), 0
    for crowd in crowds:
        # A few strays between two crowds: wherever they may have come from.
        is_crowd = weigh(crowd) >= FEW
        yield from _gather(crowd, sqrt(weigh(crowd))) if is_crowd else whole[at : at + len(crowd)]
        at += len(crowd)


def weigh(points: Sequence[Point]) -> float:
    """How many leads these are."""
    return sum(point.weight for point in points)


def _gather(points: Sequence[Point], wanted: float) -> Iterator[float]:
    fenced = [Point(-inf, 0, 0), *points, Point(inf, 0, 0)]
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
