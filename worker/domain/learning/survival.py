"""What the histogram and the leads open just now say together: the product-limit estimate of Kaplan and Meier, 1958.

It may weigh leads by anything that is known when they are submitted, and here by how long ago that was. For a histogram
fades by what ended: resolved leads are in it as soon as they are, their contemporaries that never resolve a deadline
later, and the open ones not at all. Counted beside it as they are, the open leads of a week would outweigh it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from worker.domain.learning.estimate import Observed
from worker.domain.learning.histogram import Bins, Histogram, bound_bin, find_bin

LEAST_KEPT = 1e-250  # nearer to none at all, numbers have no digits left


@dataclass(frozen=True, slots=True)
class OpenLeads:
    """So many leads that were open at an age at which they were asked about; since then nothing is known of them.

    On average they were submitted `submitted_ago` seconds ago.
    """

    leads: float
    open_age: float
    submitted_ago: float


def list_observed(
    histogram: Histogram, still_open: Sequence[OpenLeads], fading: float, deadline: float
) -> tuple[list[Observed], float]:
    """The ages at which leads resolve, and the weight of those that never do.

    The ages weigh together what is known of such leads, and the others in proportion. `fading`: half-lives a second, at
    the rate at which leads come in the long run. At the rate of the moment all that is older than an import would seem
    long forgotten, while the histogram has hardly begun to forget it.
    """
    resolved = {number: weight * _keep(bound_bin(number)[0] * fading) for number, weight in histogram.resolved.items()}
    lost = {number: weight * _keep(bound_bin(number)[0] * fading) for number, weight in histogram.gave_up.items()}
    for each in still_open:
        number = find_bin(each.open_age)
        lost[number] = lost.get(number, 0.0) + each.leads * _keep(each.submitted_ago * fading)
    last = find_bin(deadline)
    shares, never = _limit_product(resolved, lost, last)
    known = sum(weight for number, weight in histogram.resolved.items() if number < last)
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


def _keep(half_lives: float) -> float:
    kept: float = 0.5 ** min(half_lives, 1000.0)
    return max(kept, LEAST_KEPT)
