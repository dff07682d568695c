"""The poll ages that minimise price * polls + waiting, for a known distribution of resolution times.

The inspection problem (Barlow, Hunter and Proschan, "Optimum checking procedures", 1963) by dynamic programming over a
grid of ages. With F the share resolved and A its integral, going from poll `x` straight to poll `y` costs

    price · (1 - F(x))  +  A(y) - A(x) - F(x) · (y - x)

so what is best from `x` on is a minimum over straight lines in F(x), one for each `y`: intercept A(y) + best(y), slope
-y. Slopes and questions both come in order, so the lower envelope answers them all in hardly more than linear time, and
the grid can be as fine as one likes. Bounds take lines out of it: a `y` too far from one `x` is so from all before it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from math import ceil, sqrt

from worker.domain.learning.bounds import MOST_POINTS, STEPS_A_GAP, UNBOUNDED, Bounds
from worker.domain.learning.distribution import Distribution

QUANTILES = 1500
LOG_POINTS = 1500
EARLIEST = 0.001  # seconds: a first poll at once, for what resolves at once
CRUMB = 1e-6  # seconds
FEW = 1e-4  # the share still open below which a coarser grid will do


def plan_polls(times: Distribution, price: float, bounds: Bounds = UNBOUNDED) -> list[float]:
    """The best ages within these bounds, ascending, in whole milliseconds; the last is the deadline."""
    grid = make_grid(times, price, bounds)
    return round_up(_follow(grid, _choose_next(times, grid, price, bounds)), times.deadline)


def make_grid(times: Distribution, price: float, bounds: Bounds = UNBOUNDED) -> list[float]:
    """Ages to choose from: dense where polls may be dense, and wherever the distribution bends or jumps.

    Before a long empty stretch even the last hundredth of a crowd is worth its poll, though its hazard is hardly any.
    """
    ages = {times.find_age(times.resolving * n / QUANTILES) for n in range(1, QUANTILES)}
    ages.update(times.ages)
    ages.update(_spread_along_gaps(times, price))
    ages.update(bounds.list_steps(times.deadline))
    ages.update(times.deadline * (EARLIEST / times.deadline) ** (n / LOG_POINTS) for n in range(1, LOG_POINTS + 1))
    ages.discard(0.0)
    return [0.0, *sorted(age for age in ages if age < times.deadline), times.deadline]


def _spread_along_gaps(times: Distribution, price: float) -> Iterator[float]:
    """Points at a fraction of the best gap √(2 · price / hazard), which is J. Keller's of 1974 for a smooth hazard."""
    paces = [sqrt(_hazard(times, n) / (2 * price)) for n in range(len(times.ages) - 1)]
    widths = [end - start for start, end in zip(times.ages, times.ages[1:], strict=False)]
    wanted = STEPS_A_GAP * sum(pace * width for pace, width in zip(paces, widths, strict=True))
    steps = STEPS_A_GAP * min(1.0, MOST_POINTS / max(wanted, 1.0))
    due = 0.0
    for start, width, pace in zip(times.ages, widths, paces, strict=False):
        count = steps * pace * width
        while due < count:
            yield start + width * due / count
            due += 1
        due -= count


def _hazard(times: Distribution, at: int) -> float:
    rise = times.before[at + 1] - times.upto[at]
    return rise / ((times.ages[at + 1] - times.ages[at]) * max(1 - times.upto[at], FEW))


def _choose_next(times: Distribution, grid: Sequence[float], price: float, bounds: Bounds) -> list[int]:
    """For each point of the grid the next one to poll at."""
    shares, areas = zip(*times.trace(grid), strict=True)
    shares = (0.0, *shares[1:])  # who has resolved at age 0 is seen by the first poll
    envelope = _Envelope(grid, shares, bounds)
    following = [len(grid) - 1] * len(grid)
    envelope.add(len(grid) - 1, areas[-1])
    for here in range(len(grid) - 2, -1, -1):
        at, height = envelope.find_lowest(here)
        share = shares[here]
        following[here] = at
        envelope.add(here, price * (1 - share) + height - share * (grid[at] - grid[here]))
    return following


class _Envelope:
    """The points whose line is the lowest somewhere, and from where on, the ones in use first, the newest last.

    A line is none any more where a bound keeps polls from reaching its point.
    """

    def __init__(self, grid: Sequence[float], shares: Sequence[float], bounds: Bounds) -> None:
        self._grid, self._shares = grid, shares
        self._reaches = [age + bounds.find_gap(age) + CRUMB for age in grid]
        self._points, self._heights, self._takes_over_at = list[int](), list[float](), list[int]()
        self._front = 0

    def find_lowest(self, here: int) -> tuple[int, float]:
        """The point to go to from `here`, and the height of its line; `here` goes down from call to call."""
        while self._front + 1 < len(self._points) and self._takes_over_at[self._front + 1] >= here:
            self._front += 1
        return self._points[self._front], self._heights[self._front]

    def add(self, point: int, height: float) -> None:
        """One point more, which is lower than all before."""
        at = self._find_takeover(point, height)
        # Lowest nowhere: whoever takes over from it has done so before it takes over itself.
        while len(self._points) - self._front > 1 and at >= self._takes_over_at[-1]:
            for each in (self._points, self._heights, self._takes_over_at):
                each.pop()
            at = self._find_takeover(point, height)
        self._points.append(point)
        self._heights.append(height)
        self._takes_over_at.append(at)

    def _find_takeover(self, point: int, height: float) -> int:
        """From which point of the grid downwards its line is lower than the newest, or the only one of the two."""
        if not self._points:
            return point
        newest = self._grid[self._points[-1]]
        share = (self._heights[-1] - height) / (newest - self._grid[point])
        return max(bisect_right(self._shares, share), bisect_left(self._reaches, newest)) - 1


def _follow(grid: Sequence[float], following: Sequence[int]) -> Iterator[float]:
    at, last = 0, len(grid) - 1
    while at != last:
        at = following[at]
        yield grid[at]


def round_up(ages: Iterator[float], deadline: float) -> list[float]:
    """Up, since a poll a moment too early misses what it was for."""
    whole = dict.fromkeys(max(1, ceil(age * 1000 - 1e-6)) / 1000 for age in ages)
    return [age for age in whole if age < deadline] + [deadline]
