"""How near the learned schedule comes to the true optimum, and how far it is from the best of 100 exponential backoffs.

For each distribution: draw leads, learn from them, and cost the poll ages against the truth that they were drawn from.

python -m tests.benchmarks.learned_schedule [--leads 2000] [--seeds 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from tests.benchmarks.families import DEADLINE, FAMILIES, Family, tabulate
from worker.domain.learning.distribution import Cost, Distribution, cost_ages
from worker.domain.learning.exponentials import list_exponentials
from worker.domain.learning.optimum import plan_polls
from worker.domain.learning.samples import learn_times

PRICES = (1.0, 5.0, 30.0, 300.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """Costs of one family at one price; `to_optimum` is the worst of the seeds."""

    family: str
    price: float
    optimum: float
    to_optimum: float
    to_exponential: float
    cpu_seconds: float


def learn(family: Family, leads: int, seed: int) -> Distribution:
    """What learning makes of so many leads."""
    chance = random.Random(seed)
    times = [family.draw(chance) for _ in range(leads)]
    return learn_times([time for time in times if time <= DEADLINE], sum(t > DEADLINE for t in times), DEADLINE)


def measure(name: str, leads: int, seeds: int, prices: Sequence[float] = PRICES) -> list[Measured]:
    """One family at all prices."""
    truth = tabulate(FAMILIES[name])
    exponentials = [cost_ages(truth, each.list_ages(DEADLINE)) for each in list_exponentials()]
    started = time.process_time()
    learned = [learn(FAMILIES[name], leads, seed) for seed in range(1, seeds + 1)]
    plans = {price: [plan_polls(each, price) for each in learned] for price in prices}
    spent = (time.process_time() - started) / seeds / len(prices)
    return [_compare(name, truth, price, plans[price], exponentials, spent) for price in prices]


def _compare(
    name: str,
    truth: Distribution,
    price: float,
    plans: Sequence[Sequence[float]],
    exponentials: Sequence[Cost],
    spent: float,
) -> Measured:
    optimum = cost_ages(truth, plan_polls(truth, price)).at_price(price)
    cost = max(cost_ages(truth, ages).at_price(price) for ages in plans)
    best = min(each.at_price(price) for each in exponentials)
    return Measured(name, price, optimum, cost / optimum, cost / best, spent)


def show(rows: Sequence[Measured]) -> None:
    """The table."""
    table = Table("distribution", *(f"{price:g} s" for price in PRICES), "of best exponential", box=None)
    for name in FAMILIES:
        mine = [row for row in rows if row.family == name]
        against = f"{min(row.to_exponential for row in mine):.2f} to {max(row.to_exponential for row in mine):.2f}"
        table.add_row(name, *(f"{row.to_optimum:.3f}" for row in mine), against)
    console = Console()
    console.print("cost of the learned schedule as a multiple of the optimum, by the price of a poll\n", style="bold")
    console.print(table)
    worst, mean = max(row.to_optimum for row in rows), sum(row.to_optimum for row in rows) / len(rows)
    spent = sum(row.cpu_seconds for row in rows) / len(rows)
    console.print(f"\nworst {worst:.3f}, mean {mean:.4f}; {1000 * spent:.0f} ms of CPU to learn and plan")


def main() -> None:
    """Measure all families."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leads", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [row for name in FAMILIES for row in measure(name, options.leads, options.seeds)]
    if options.json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    else:
        show(rows)


if __name__ == "__main__":
    main()
