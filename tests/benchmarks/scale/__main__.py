"""`python -m tests.benchmarks.scale`: what a batch costs with a thousand, a million, ten million leads stored.

Needs the extra `local`. Up to a hundred thousand of the leads are open. The server listens on loopback alone and ends
with the command.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from tests.benchmarks.pipeline.machine import read_cpu_seconds, read_own_megabytes
from tests.benchmarks.scale.filling import fill
from tests.benchmarks.scale.steps import BATCH, forget_duties, list_steps
from worker.local.postgres import EmbeddedPostgres
from worker.logs import set_up_logging
from worker.store.db import open_engine
from worker.store.migrate import migrate_to_head

THOUSAND, MILLION = 1_000, 1_000_000
_MOST_OPEN = 100_000
_WARM_UP, _MOST_BATCHES = 2, 30


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over the batches, in milliseconds a batch; the CPU of worker and Postgres is their mean."""

    leads: int
    still_open: int
    step: str
    batches: int
    wall_ms: float
    worker_cpu_ms: float
    postgres_cpu_ms: float


@dataclass(frozen=True, slots=True)
class Size:
    """What is held with so many leads stored, in megabytes; one process works on all sizes, one after another."""

    leads: int
    still_open: int
    due_index_megabytes: float
    worker_megabytes: float


def measure(folder: Path, leads: int) -> tuple[list[Cost], Size]:
    """Fill a server with so many leads, and put batch after batch through every step."""
    still_open = min(leads, _MOST_OPEN)
    with EmbeddedPostgres(folder / str(leads), fast=True) as postgres:
        engine = open_engine(make_url(postgres.url).set(drivername="postgresql+psycopg"))
        migrate_to_head(engine)
        fill(postgres.url, leads, still_open)
        # One of the batches that there are is left, so that the last is not the end of the queue.
        batches = min(_MOST_BATCHES, still_open // BATCH - _WARM_UP - 1)
        steps = list_steps(engine)
        took: dict[str, list[tuple[float, float, float]]] = {name: [] for name in steps}
        for number in range(_WARM_UP + batches):
            forget_duties(engine)
            for name, step in steps.items():
                before = _read_clocks(postgres.pid)
                step()
                after = _read_clocks(postgres.pid)
                if number >= _WARM_UP:
                    took[name].append((after[0] - before[0], after[1] - before[1], after[2] - before[2]))
        size = Size(leads, still_open, _read_due_index_megabytes(engine), read_own_megabytes())
        engine.dispose()
    return list(_sum_up(took, leads, still_open)), size


def _sum_up(took: dict[str, list[tuple[float, float, float]]], leads: int, still_open: int) -> Iterator[Cost]:
    for name, rows in took.items():
        wall, worker, server = zip(*rows, strict=True)
        # Postgres' CPU is counted in hundredths of a second: of that only a sum over batches says anything.
        costs = (1000 * median(wall), 1000 * sum(worker) / len(rows), 1000 * sum(server) / len(rows))
        yield Cost(leads, still_open, name, len(rows), *costs)


def _read_due_index_megabytes(engine: Engine) -> float:
    with engine.connect() as connection:
        size: int = connection.execute(text("select pg_relation_size('resolver.ix_watches_due')")).scalar_one()
    return size / 1e6


def _read_clocks(postgres_pid: int) -> tuple[float, float, float]:
    return time.monotonic(), time.process_time(), read_cpu_seconds([postgres_pid])


def _make_table(costs: Sequence[Cost]) -> Table:
    table = Table(padding=0, title=f"One batch of {BATCH} leads, ms", title_justify="left")
    table.add_column("step")
    for column in ("leads", "open", "runs", "wall", "worker CPU", "Postgres CPU", "wall, first = 1"):
        table.add_column(column, justify="right")
    first = {cost.step: cost.wall_ms for cost in reversed(costs)}
    for cost in sorted(costs, key=lambda cost: list(first).index(cost.step), reverse=True):
        times = f"{cost.wall_ms / first[cost.step]:.2f}"
        figures = (f"{cost.wall_ms:.1f}", f"{cost.worker_cpu_ms:.1f}", f"{cost.postgres_cpu_ms:.1f}", times)
        table.add_row(cost.step, f"{cost.leads:,}", f"{cost.still_open:,}", str(cost.batches), *figures)
    return table


def _make_size_table(sizes: Sequence[Size]) -> Table:
    table = Table(padding=0, title="What is held, MB", title_justify="left")
    for column in ("leads", "open", "due index", "worker process"):
        table.add_column(column, justify="right")
    for size in sizes:
        figures = (f"{size.due_index_megabytes:.1f}", f"{size.worker_megabytes:.0f}")
        table.add_row(f"{size.leads:,}", f"{size.still_open:,}", *figures)
    return table


def main() -> int:
    """Measure all sizes, one after the other; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[THOUSAND, MILLION], help="leads stored, 1,000 at least"
    )
    parser.add_argument("--ten-million", action="store_true", help="that many as well; takes minutes and 15 GB of disk")
    parser.add_argument("--json", action="store_true", help="figures for machines")
    options = parser.parse_args()
    sizes = [*options.sizes, *([10 * MILLION] if options.ten_million else [])]
    set_up_logging("ERROR", "text")
    costs: list[Cost] = []
    held: list[Size] = []
    with tempfile.TemporaryDirectory(prefix="lead-resolver-scale-") as folder:
        console = Console(stderr=True)
        for leads in sizes:
            with console.status(f"{leads:,} leads: filling and measuring"):
                of_steps, size = measure(Path(folder), leads)
            costs += of_steps
            held.append(size)
    if options.json:
        document = {"costs": [asdict(cost) for cost in costs], "held": [asdict(size) for size in held]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        Console().print(_make_table(costs), _make_size_table(held))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
