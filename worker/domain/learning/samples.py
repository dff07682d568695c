"""A file of resolution times, one number of seconds a line, as observations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from math import gcd, inf, isfinite

from worker.domain.learning.distribution import Distribution
from worker.domain.learning.estimate import Lattice, Observed, estimate
from worker.errors import UsageError

NEVER = "never"
INFINITE = {NEVER, "inf", "+inf", "infinity"}
GRAINS = (1.0, 0.1, 0.01, 0.001)
FEWEST_ON_A_LATTICE = 20
COARSE, LONG_GAP = 0.1, 10.0  # seconds, and steps: where rounding may cost much
AS_WRITTEN = 0.5  # odds that times in whole seconds, or tenths, are no rounded ones
INSURED = 0.003  # of a spike
FEW_NEVER = 0.03  # of the leads: those that never resolve pay for every poll
SPIKE = 3.0  # a value this many times as frequent as its neighbours is one by itself, not one of a rounded crowd


@dataclass(frozen=True, slots=True)
class Sample:
    """What a file said: when leads resolved, and how many never did."""

    times: Sequence[float]
    never: int = 0


def read_sample(lines: Iterable[str], name: str) -> Sample:
    """The times in these lines; blank lines and what follows a `#` are skipped. UsageError names the first bad line."""
    times, never = [], 0
    for number, line in enumerate(lines, start=1):
        said = line.partition("#")[0].strip().removeprefix("\ufeff").strip()
        if said.lower() in INFINITE:
            never += 1
        elif said:
            times.append(_read_time(said, f"{name}, line {number}"))
    if not times and not never:
        raise UsageError(f"{name}: no resolution times in it; expected a number of seconds a line")
    return Sample(times, never)


def _read_time(said: str, where: str) -> float:
    try:
        seconds = float(said)
    except ValueError:
        seconds = -1.0
    # Python reads `1_000` as a number, which in a file of times is a slip.
    if not isfinite(seconds) or seconds < 0 or "_" in said:
        shown = "".join(character if character.isprintable() else "?" for character in said[:40])
        raise UsageError(f"{where}: {shown!r} is no time: expected seconds, 0 or more, or `{NEVER}`")
    return abs(seconds)


def learn_times(times: Sequence[float], never: float, deadline: float) -> Distribution:
    """The distribution behind these times; `never` leads more were open at the deadline."""
    grain, observed = _find_grain(times), observe(times)
    if grain is not None and grain >= COARSE and never <= FEW_NEVER * len(times):
        observed = list(_insure(observed, grain))
    return estimate(observed, never, deadline, find_lattice(times))


def _insure(observed: Sequence[Observed], grain: float) -> Iterator[Observed]:
    """A little of each spike before a long gap as late as it may have been rounded from.

    It may be a crowd narrower than the rounding, half of which a poll at the spike would miss.
    """
    ascending = [*sorted(observed, key=lambda each: each.low), Observed(inf, inf)]
    for each, following in pairwise(ascending):
        if each.is_spike and following.low - each.low > LONG_GAP * grain:
            yield replace(each, weight=each.weight * (1 - INSURED))
            latest = each.low + grain / 2
            yield Observed(latest, latest, each.weight * INSURED, is_spike=True)
        else:
            yield each


def observe(times: Sequence[float]) -> list[Observed]:
    """The times as observations; rounded ones as the stretch they were rounded from, unless they are a spike."""
    grain = _find_grain(times)
    if grain is None:
        return [Observed(time, time, count, is_spike=count > SPIKE) for time, count in Counter(times).items()]
    counts = Counter(round(time / grain) for time in times)
    return [_widen(step, count, counts, grain) for step, count in counts.items()]


def find_lattice(times: Sequence[float]) -> Lattice | None:
    """What all of the times are multiples of; if rounding can account for it, they may have been rounded or not.

    A poll at a whole second is right if leads resolve at whole seconds, and a moment too early for half if not.
    """
    grain = _find_grain(times)
    if grain is None or len(times) < FEWEST_ON_A_LATTICE:
        return None
    steps = reduce(gcd, {round(time / grain) for time in times})
    if steps > 1:
        return Lattice(steps * grain)
    return Lattice(grain, AS_WRITTEN) if steps == 1 and grain >= COARSE else None


def _find_grain(times: Sequence[float]) -> float | None:
    return next((grain for grain in GRAINS if all(_is_multiple(time, grain) for time in times)), None)


def _is_multiple(time: float, grain: float) -> bool:
    return abs(time / grain - round(time / grain)) < 1e-6  # noqa: PLR2004 - of a step


def _widen(step: int, count: int, counts: Counter[int], grain: float) -> Observed:
    beside = max(counts[step - 1], counts[step + 1])
    beyond = max(counts[step - 2], counts[step + 2])
    # Beside a spike there is nothing, or a crowd that goes on; what falls off so fast is a narrow crowd, rounded.
    if count > SPIKE * (beside + 1) and beside <= SPIKE * (beyond + 1):
        return Observed(step * grain, step * grain, count, is_spike=True)
    return Observed(max(0.0, (step - 0.5) * grain), (step + 0.5) * grain, count)
