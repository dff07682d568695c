"""What a plan keeps to, whatever would be cheapest: a fast first minute, and a longest gap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

FIRST_MINUTE = 60.0
STEPS_A_GAP = 12  # points to choose from, to a gap: the error goes with the square of the step
MOST_POINTS = 40_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """In seconds: the longest gap, and that of leads younger than a minute. None: no bound."""

    longest_gap: float | None = None
    first_minute_gap: float | None = None

    def find_gap(self, age: float) -> float:
        """The longest gap allowed after a poll at this age."""
        allowed = [gap for gap in (self.longest_gap, self.first_minute_gap if age < FIRST_MINUTE else None) if gap]
        return min(allowed, default=inf)

    def list_steps(self, deadline: float) -> Iterator[float]:
        """Ages a fraction of the longest allowed gap apart: a plan can go on by just that gap."""
        for start, end in ((0.0, min(FIRST_MINUTE, deadline)), (FIRST_MINUTE, deadline)):
            gap = self.find_gap(start)
            if gap < inf and end > start:
                step = gap / max(1, min(STEPS_A_GAP, int(MOST_POINTS * gap / (end - start))))
                yield from (start + step * n for n in range(1, int((end - start + gap) / step) + 1))


UNBOUNDED = Bounds()
