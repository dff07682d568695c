"""A histogram of resolution ages that fades: what learning remembers between two recomputations.

Its bins are as wide as the best gap between polls changes: for a hazard that falls with age, √(2 · price · age), so
bin n ends at (n / FINENESS)² seconds. That is 0.1 s wide at an age of one second, 7 s at an hour, 37 s at a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

FINENESS = 16.0
FORGOTTEN = 1e-4  # a bin that has faded below this many leads is dropped
# A Kolmogorov-Smirnov distance as far from chance as this (1 in 10,000) is a change, not a fluctuation.
CHANGED = 2.2
OLD_AGAINST_NEW = 0.7  # weight after a change: with less, a burst misleads; with more, a change is followed slowly
FEWEST_NEW = 5  # the distance allows for how few they are

Bins = dict[int, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """One lead: open at the one age, resolved at the other; None: we stopped asking, or it is open still."""

    open_age: float
    resolved_age: float | None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Leads by the age they resolved at, and by the age at which they were last known to be open."""

    resolved: Mapping[int, float] = field(default_factory=dict)
    gave_up: Mapping[int, float] = field(default_factory=dict)

    @property
    def weight(self) -> float:
        """How many leads it stands for, faded ones counting less."""
        return sum(self.resolved.values()) + sum(self.gave_up.values())


def find_bin(age: float) -> int:
    """The bin an age falls into."""
    return int(FINENESS * sqrt(max(age, 0.0)))


def bound_bin(number: int) -> tuple[float, float]:
    """From which age to which a bin goes."""
    return (number / FINENESS) ** 2, ((number + 1) / FINENESS) ** 2


def add_leads(histogram: Histogram, leads: Sequence[Seen], kept: float) -> Histogram:
    """The histogram with these leads in it; `kept` of its old weight stays, or less where they contradict it.

    Then the old weigh less than the new, and less with each time, but are not wiped out: leads end in the order of how
    long they took, so those of an import of a thousand contradict each other once a day, and nothing has changed.
    """
    new = _count(leads, histogram)
    if has_changed(histogram, new):
        kept = min(kept, OLD_AGAINST_NEW * new.weight / histogram.weight)
    return Histogram(_join(histogram.resolved, new.resolved, kept), _join(histogram.gave_up, new.gave_up, kept))


def has_changed(old: Histogram, new: Histogram) -> bool:
    """Whether new leads resolve at ages that the old ones make incredible."""
    before, now = sum(old.resolved.values()), sum(new.resolved.values())
    if before < FEWEST_NEW or now < FEWEST_NEW:
        return False
    gap = farthest = 0.0
    for number in sorted({*old.resolved, *new.resolved}):
        gap += old.resolved.get(number, 0.0) / before - new.resolved.get(number, 0.0) / now
        farthest = max(farthest, abs(gap))
    return farthest * sqrt(before * now / (before + now)) > CHANGED


def _count(leads: Sequence[Seen], known: Histogram) -> Histogram:
    resolved: Bins = {}
    gave_up: Bins = {}
    for lead in leads:
        if lead.resolved_age is None:
            number = find_bin(lead.open_age)
            gave_up[number] = gave_up.get(number, 0.0) + 1
        else:
            for number, share in _spread(lead.open_age, lead.resolved_age, known.resolved):
                resolved[number] = resolved.get(number, 0.0) + share
    return Histogram(resolved, gave_up)


def _spread(low: float, high: float, known: Mapping[int, float]) -> Iterable[tuple[int, float]]:
    """One lead over the bins between two ages, by what is known of them: a step of Turnbull's self-consistency (1976).

    The width of a bin stands in where little is known, with the weight of one lead. Of a bin that is partly between
    them, a part of what is known: claimed whole from both sides, the bins of our own polls would grow and grow.
    """
    odds = [
        (number, inside / max(high - low, 1e-9) + known.get(number, 0.0) * inside / (end - start))
        for number in range(find_bin(low), find_bin(high) + 1)
        for start, end in [bound_bin(number)]
        for inside in [min(end, high) - max(start, low)]
    ]
    total = sum(odd for _, odd in odds)
    return [(number, odd / total) for number, odd in odds] if total > 0 else [(find_bin(low), 1.0)]


def _join(old: Mapping[int, float], new: Mapping[int, float], kept: float) -> Bins:
    joined = {number: old.get(number, 0.0) * kept + new.get(number, 0.0) for number in {*old, *new}}
    return {number: round(weight, 6) for number, weight in sorted(joined.items()) if weight >= FORGOTTEN}
