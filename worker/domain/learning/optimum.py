"""The poll ages that minimise price * polls + waiting, for a known distribution of resolution times.

The inspection problem (Barlow, Hunter and Proschan, "Optimum checking procedures", 1963) by dynamic programming over a
grid of ages. With F the share resolved and A its integral, going from poll `x` straight to poll `y` costs

    price · (1 - F(x))  +  A(y) - A(x) - F(x) · (y - x)

so what is best from `x` on is a minimum over straight lines in F(x), one for each `y`: intercept A(y) + best(y), slope
-y. Slopes and questions both come in order, so the lower envelope answers them all in linear time, and the grid can be
as fine as one likes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, sqrt

from worker.domain.learning.distribution import Distribution

STEPS_A_GAP = 12  # grid points to the best gap: the error goes with the square of the step
QUANTILES = 1500
LOG_POINTS = 1500
MOST_POINTS = 40_000
EARLIEST = 0.001  # seconds: a first poll at once, for what resolves at once
FEW = 1e-4  # the share still open below which a coarser grid will do


def plan_polls(times: Distribution, price: float) -> list[float]:
    """The best ages, ascending, in whole milliseconds; the last is the deadline."""
    grid = make_grid(times, price)
    return round_up(_follow(grid, _choose_next(times, grid, price)), times.deadline)


def make_grid(times: Distribution, price: float) -> list[float]:
    """Ages to choose from: dense where polls may be dense, and wherever the distribution has an edge."""
    ages = {times.find_age(times.resolving * n / QUANTILES) for n in range(1, QUANTILES)}
    ages.update(age for age, before, upto in zip(times.ages, times.before, times.upto, strict=True) if upto > before)
    ages.update(_spread_along_gaps(times, price))
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


def _choose_next(times: Distribution, grid: Sequence[float], price: float) -> list[int]:
    """For each point of the grid the next one to poll at."""
    shares, areas = zip(*(times.look_up(age) for age in grid), strict=True)
    shares = (0.0, *shares[1:])  # who has resolved at age 0 is seen by the first poll
    last = len(grid) - 1
    following = [last] * len(grid)
    # The envelope: points whose line is the lowest somewhere, the ones in use first, the newest last.
    points, heights, front = [last], [areas[last]], 0
    for here in range(last - 1, -1, -1):
        share = shares[here]
        while front + 1 < len(points) and (
            heights[front + 1] - share * grid[points[front + 1]] <= heights[front] - share * grid[points[front]]
        ):
            front += 1
        following[here] = points[front]
        best = price * (1 - share) + heights[front] - share * (grid[points[front]] - grid[here]) - areas[here]
        _add_line(points, heights, front, here, areas[here] + best, grid)
    return following


def _add_line(
    points: list[int], heights: list[float], front: int, here: int, height: float, grid: Sequence[float]
) -> None:
    while len(points) - front > 1:
        a, b, c = grid[points[-2]], grid[points[-1]], grid[here]
        # b is lowest nowhere if c is below it already where b comes below a.
        if (height - heights[-1]) * (a - b) > (heights[-1] - heights[-2]) * (b - c):
            break
        points.pop()
        heights.pop()
    points.append(here)
    heights.append(height)


def _follow(grid: Sequence[float], following: Sequence[int]) -> Iterator[float]:
    at, last = 0, len(grid) - 1
    while at != last:
        at = following[at]
        yield grid[at]


def round_up(ages: Iterator[float], deadline: float) -> list[float]:
    """Up, since a poll a moment too early misses what it was for."""
    whole = dict.fromkeys(max(1, ceil(age * 1000 - 1e-6)) / 1000 for age in ages)
    return [age for age in whole if age < deadline] + [deadline]
