"""How a schedule looks in a terminal: the distribution in blocks, the polls under it, what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import log

from rich.markup import escape

from worker.cli.output import out, print_table
from worker.domain.backoff import DEFAULT_SCHEDULE
from worker.domain.learning.distribution import Cost, Distribution, cost_ages
from worker.domain.learning.exponentials import find_best_exponential
from worker.domain.learning.schedule import Plan, list_ages

BLOCKS = " ▁▂▃▄▅▆▇█"
HEIGHT = 6
MARKS = {
    1: "1 s",
    10: "10 s",
    60: "1 min",
    600: "10 min",
    3600: "1 h",
    21_600: "6 h",
    86_400: "1 day",
    604_800: "7 days",
}
PLAIN = str.maketrans("▁▂▃▄▅▆▇█─╵║", "..::++##-'|")  # for a terminal without blocks
MOST_AGES = 12


@dataclass(frozen=True, slots=True)
class Axis:
    """Ages on a logarithmic axis of `width` columns."""

    first: float
    last: float
    width: int

    def find_column(self, age: float) -> int:
        """The column of an age; ages off the axis are at its ends."""
        place = log(max(age, self.first) / self.first) / log(self.last / self.first)
        return min(int(place * self.width), self.width - 1)

    def bound_column(self, column: int) -> tuple[float, float]:
        """The ages at both ends of a column; the first begins at 0."""
        start, end = (self.first * (self.last / self.first) ** (edge / self.width) for edge in (column, column + 1))
        return (0.0 if column == 0 else start), end


@dataclass(frozen=True, slots=True)
class Rival:
    """A schedule and its cost."""

    name: str
    cost: Cost


def find_rivals(times: Distribution, price: float) -> Iterator[Rival]:
    """What the learned schedule is compared with."""
    yield Rival("default", cost_ages(times, list_ages(DEFAULT_SCHEDULE, times.deadline)))
    best, cost = find_best_exponential(times, price)
    yield Rival(f"exponential {best.start:g} s, times {best.factor:g}, cap {say_age(best.cap)}", cost)


def print_page(title: str, times: Distribution, plan: Plan, *, does_any_resolve: bool = True) -> None:
    """The whole page; where no lead resolved, what is expected none the less is not drawn."""
    first = max(0.1, min(1.0, times.find_age(times.resolving / 100)))
    axis = Axis(first, times.deadline, max(40, min(out.width - 2, 100)))
    out.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    out.print(f"[dim]a poll is worth {plan.price:g} s of waiting[/]\n")
    for line in draw_distribution(times, axis) if does_any_resolve else ():
        out.print(f"[cyan]{_fit_terminal(line)}[/]")
    out.print(f"[green]{_fit_terminal(draw_polls(plan.ages, axis))}[/]")
    out.print(f"[dim]{draw_axis(axis)}[/]\n")
    out.print(_say_resolving(times) if does_any_resolve else f"none resolves within {say_age(times.deadline)}")
    # Those that read the same are said once.
    shown = ", ".join(dict.fromkeys(say_age(age) for age in plan.ages[:MOST_AGES]))
    more = f" … {len(plan.ages)} in all, the last at {say_age(plan.ages[-1])}" if len(plan.ages) > MOST_AGES else ""
    out.print(f"polls at {shown}{more}\n")
    rivals = [Rival("learned", plan.cost), *find_rivals(times, plan.price)]
    print_table([_describe_rival(rival, plan) for rival in rivals], ["schedule", "polls", "waiting", "cost", "ratio"])


def _fit_terminal(drawn: str) -> str:
    return drawn.translate(PLAIN) if out.options.ascii_only else drawn


def draw_distribution(times: Distribution, axis: Axis) -> Iterator[str]:
    """Lines of blocks, from the top: how many leads resolve in each column."""
    edges = [axis.bound_column(column) for column in range(axis.width)]
    shares = [times.look_up(end)[0] - (times.look_up(start)[0] if start else 0.0) for start, end in edges]
    highest = max(*shares, 1e-12)
    eighths = [round(share / highest * HEIGHT * 8) for share in shares]
    for row in reversed(range(HEIGHT)):
        yield "".join(BLOCKS[min(max(height - row * 8, 0), 8)] for height in eighths)


def draw_polls(ages: Sequence[float], axis: Axis) -> str:
    """A line of ticks: one poll in the column, several, or many."""
    counts = [0] * axis.width
    for age in ages:
        counts[axis.find_column(age)] += 1
    return "".join("─╵║█"[min(count, 3)] for count in counts)


def draw_axis(axis: Axis) -> str:
    """The ages under their columns, as many as there is room for."""
    line = ""
    for age, mark in MARKS.items():
        column = axis.find_column(age)
        # The last mark stands left of its column, lest it hang over the edge.
        column = min(column, axis.width - len(mark))
        if axis.first <= age <= axis.last and column >= len(line) + bool(line):
            line = line.ljust(column) + mark
    return line


def say_age(seconds: float) -> str:
    """An age in the unit that fits: 4.2 s, 90 s, 12 min, 3.5 h, 7 days, 3,650 days."""
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
    days = seconds / 86_400
    return f"{days:.3g} days" if days < 999.5 else f"{days:,.0f} days"  # noqa: PLR2004 - where digits become powers


def count_leads(number: int) -> str:
    """1 lead, 2,000 leads."""
    return f"{number:,} lead{'s' if number != 1 else ''}"


def _say_resolving(times: Distribution) -> str:
    share = times.resolving
    ages = [times.find_age(share * part) for part in (0.5, 0.9, 0.99)]
    half, most, nearly = (say_age(age) for age in ages)
    never = f"; {1 - share:.1%} never" if share < 0.9995 else ""  # noqa: PLR2004 - 0.1 % when rounded
    whose = "of those that resolve, half do" if never else "half resolve"
    return f"{whose} within {half}, 90 % within {most}, 99 % within {nearly}{never}"


def _describe_rival(rival: Rival, plan: Plan) -> dict[str, object]:
    cost = rival.cost.at_price(plan.price)
    ratio = cost / max(plan.cost.at_price(plan.price), 1e-9)
    return {
        "schedule": rival.name,
        "polls": Decimal(f"{rival.cost.polls:.2f}"),
        "waiting": say_age(rival.cost.wait_seconds),
        "cost": say_age(cost),
        "ratio": Decimal(f"{ratio:.2f}"),
    }
