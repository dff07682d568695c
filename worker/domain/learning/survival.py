"""What the histogram and the leads open just now say together: the product-limit estimate of Kaplan and Meier, 1958.

It may weigh leads by anything that is known when they are submitted, and here by how many were submitted since. For a
histogram fades by what ended: resolved leads are in it as soon as they are, their contemporaries that never resolve a
deadline later, and the open ones not at all. Counted beside it as they are, the open leads of a week would outweigh it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from worker.domain.learning.estimate import Observed
from worker.domain.learning.histogram import Bins, Histogram, bound_bin, find_bin

LEAST_KEPT = 1e-250  # nearer to none at all, numbers have no digits left


@dataclass(frozen=True, slots=True)
class OpenLeads:
    """So many leads that were open at an age at which they were asked about; since then nothing is known of them.

    On average they were submitted `submitted_ago` seconds ago, and `submitted_since` leads after them.
    """

    leads: float
    open_age: float
    submitted_ago: float
    submitted_since: float


def list_observed(
    histogram: Histogram, still_open: Sequence[OpenLeads], half_life: float, deadline: float
) -> tuple[list[Observed], float]:
    """The ages at which leads resolve, and the weight of those that never do.

    The ages weigh together what is known of such leads, and the others in proportion.
    """
    fade = _trace_fading(still_open, half_life)
    resolved = {number: weight * fade(bound_bin(number)[0]) for number, weight in histogram.resolved.items()}
    lost = {number: weight * fade(bound_bin(number)[0]) for number, weight in histogram.gave_up.items()}
    for each in still_open:
        number = find_bin(each.open_age)
        lost[number] = lost.get(number, 0.0) + each.leads * _keep(each.submitted_since, half_life)
    shares, never = _limit_product(resolved, lost, find_bin(deadline))
    known = sum(weight for number, weight in histogram.resolved.items() if number < find_bin(deadline))
    scale = known / sum(shares.values()) if shares else histogram.weight
    return [Observed(*bound_bin(number), share * scale) for number, share in shares.items()], never * scale


def _limit_product(resolved: Bins, lost: Bins, last: int) -> tuple[Bins, float]:
    """The share of the leads that resolves in each bin before the last, and the share that is left then.

    Leads that are lost count for those that were open at their age, resolved later or never.
    """
    numbers = sorted({*resolved, *lost})
    # Summed from the last bin down, where the weights are least: subtracted from the whole, they would have no digits.
    weights = [resolved.get(number, 0.0) + lost.get(number, 0.0) for number in reversed(numbers)]
    known = dict(zip(reversed(numbers), accumulate(weights), strict=True))
    shares, left = Bins(), 1.0
    for number in numbers:
        if number < last and number in resolved:
            shares[number] = left * resolved[number] / known[number]
            left = max(0.0, left - shares[number])
    return shares, left


def _trace_fading(still_open: Iterable[OpenLeads], half_life: float) -> Callable[[float], float]:
    """What a lead of an age weighs: of how many were submitted since, the open ones tell."""
    traced = sorted((each.submitted_ago, each.submitted_since) for each in still_open)
    ages = [0.0, *(age for age, _ in traced)]
    counts = list(accumulate((0.0, *(count for _, count in traced)), max))

    def fade(age: float) -> float:
        at = bisect_left(ages, age)
        if at == 0:
            return 1.0
        if at == len(ages):
            return _keep(counts[-1] * age / max(ages[-1], 1.0), half_life)
        part = (age - ages[at - 1]) / (ages[at] - ages[at - 1])
        return _keep(counts[at - 1] + part * (counts[at] - counts[at - 1]), half_life)

    return fade


def _keep(submitted_since: float, half_life: float) -> float:
    kept: float = 0.5 ** min(submitted_since / half_life, 1000.0)
    return max(kept, LEAST_KEPT)
