"""`python -m tests.benchmarks.many_accounts`: what hundreds of accounts with small budgets cost one with a large one.

All have leads due all the time. Told: how much of its budget each kind used, the most calls of any account within a
second, and how many transactions and cores that took. `--fast-rate 0` leaves the small ones alone. Needs the extra
`local`; the servers listen on loopback alone and end with the command.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from tests.benchmarks.manners import WARM_UP_SECONDS, make_due, open_postgres, wait_for_calls, write_accounts
from tests.benchmarks.pipeline.machine import read_cpu_seconds
from worker.local.postgres import EmbeddedPostgres
from worker.local.processes import ChildSpec, Launcher
from worker.local.redis import EmbeddedRedis
from worker.local.stack import BEAT_ARGUMENTS, CELERY, WORKER_ARGUMENTS, child_environment
from worker.sandbox import SandboxSettings, running_sandbox

FAST = "fast"
_TRANSACTIONS = text("select sum(xact_commit + xact_rollback) from pg_stat_database")


@dataclass(frozen=True, slots=True)
class Found:
    """What was seen: shares of the budgets, calls, transactions a second, cores of the worker's processes."""

    accounts: int
    small_used: float
    fast_used: float | None
    most_a_second: int  # of one of the small ones
    transactions: float
    cores: float


def measure(folder: Path, rates: Mapping[str, float], latency_seconds: float, seconds: float) -> Found:
    """Run one worker of two processes for so long."""
    keys = {name: f"key-of-{name}" for name in rates}
    first, *others = rates
    options = SandboxSettings(
        account=first,
        key=keys[first],
        other_accounts={name: keys[name] for name in others},
        latency_seconds=latency_seconds,
    )
    with (
        EmbeddedPostgres(folder / "postgres", fast=True) as postgres,
        EmbeddedRedis(folder / "redis") as redis,
        running_sandbox(options) as sandbox,
        Launcher(folder / "logs", on_event=lambda _: None, grace_seconds=5) as launcher,
    ):
        accounts = write_accounts(folder, sandbox.base_url, keys, rates, concurrency=20)
        environment = child_environment(
            DATABASE_URL=postgres.url, REDIS_URL=redis.url, LEADBYTE_ACCOUNTS_FILE=str(accounts)
        )
        engine = open_postgres(postgres)
        make_due(engine, {name: int(rate * (seconds + 5 * WARM_UP_SECONDS)) + 20 for name, rate in rates.items()})
        worker = (sys.executable, "-m", *CELERY, *WORKER_ARGUMENTS, "--concurrency=2")
        launcher.start(ChildSpec("worker", worker, environment))
        launcher.start(ChildSpec("beat", (sys.executable, "-m", *CELERY, *BEAT_ARGUMENTS), environment))
        wait_for_calls(sandbox, 1)
        time.sleep(min(2 * WARM_UP_SECONDS, WARM_UP_SECONDS * seconds))
        before = _read_counters(engine, launcher.children["worker"])
        time.sleep(seconds)
        after = _read_counters(engine, launcher.children["worker"])
        seen = sandbox.calls(instants=True)
        engine.dispose()
    transactions, cores = ((later - sooner) / seconds for sooner, later in zip(before, after, strict=True))
    return _judge(seen, rates, seconds, transactions, cores)


def _read_counters(engine: Engine, pid: int) -> tuple[float, float]:
    """Transactions, and seconds of CPU."""
    with engine.connect() as connection:
        transactions = float(connection.execute(_TRANSACTIONS).scalar_one())
    return transactions, read_cpu_seconds([pid])


def _judge(
    seen: Mapping[str, Any], rates: Mapping[str, float], seconds: float, transactions: float, cores: float
) -> Found:
    end = max(at for at, _, _ in seen["instants"])
    calls = Counter(whose for at, whose, _ in seen["instants"] if end - seconds <= at < end)
    small = [name for name in rates if name != FAST]
    budget = seconds * sum(rates[name] for name in small)
    return Found(
        len(rates),
        sum(calls[name] for name in small) / budget,
        calls[FAST] / (rates[FAST] * seconds) if FAST in rates else None,
        max(seen["by_account"][name]["peak_per_second"] for name in small if name in seen["by_account"]),
        transactions,
        cores,
    )


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=300, help="with a small budget")
    parser.add_argument("--rate", type=float, default=0.2, help="requests a second of each of them")
    parser.add_argument("--fast-rate", type=float, default=50.0)
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=25)
    parser.add_argument("--json", action="store_true", dest="as_json")
    chosen = parser.parse_args()
    if chosen.accounts < 1:
        parser.error("--accounts: at least one")
    rates = {f"small-{n}": chosen.rate for n in range(chosen.accounts)}
    if chosen.fast_rate:
        rates[FAST] = chosen.fast_rate
    gc.disable()  # see `tests.benchmarks.manners`
    with tempfile.TemporaryDirectory(prefix="many-accounts-") as folder:
        found = measure(Path(folder), rates, chosen.latency_ms / 1000, chosen.seconds)
    if chosen.as_json:
        sys.stdout.write(json.dumps(asdict(found), indent=2) + "\n")
        return
    columns = ("accounts", "small ones used", "fast one used", "most a second", "transactions", "cores")
    table = Table(*columns, box=None)
    table.add_row(
        str(found.accounts),
        f"{found.small_used:.1%}",
        "" if found.fast_used is None else f"{found.fast_used:.1%}",
        str(found.most_a_second),
        f"{found.transactions:.0f}",
        f"{found.cores:.2f}",
    )
    Console().print(table)


if __name__ == "__main__":
    main()
