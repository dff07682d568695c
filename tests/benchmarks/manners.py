"""`python -m tests.benchmarks.manners`: how well several worker processes keep to an account's budget, and use it.

Two accounts have more due leads than their budgets bear, one ten times as many as the other, all of them overdue since
sometime within the last day. Told of each: the most calls that the sandbox saw within any second, and at once; how much
of its budget was used; and where among the due leads those asked about lay. `--many 200000` is a day's outage, and
`--many 1000000` beside a thousand shows whether the larger account holds up the smaller. Needs the extra `local`; the
servers listen on loopback alone and end with the command.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from worker import intake
from worker.local.postgres import EmbeddedPostgres
from worker.local.processes import ChildSpec, Launcher
from worker.local.redis import EmbeddedRedis
from worker.local.stack import BEAT_ARGUMENTS, CELERY, WORKER_ARGUMENTS, child_environment
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.store.db import open_engine, transaction
from worker.store.migrate import migrate_to_head

_KEYS = {"many": "key-of-many", "few": "key-of-few"}
WARM_UP_SECONDS = 5.0  # processes start, and their first requests follow


# The first recorded is the longest overdue.
_OVERDUE = text("""
    update resolver.watches w set next_poll_at = clock_timestamp() - interval '1 day' * (1 - place)
    from (select lead_id, percent_rank() over (partition by account_id order by lead_id) as place
        from resolver.watches) p
    where p.lead_id = w.lead_id
""")
_PLACES = text("""
    select place from (select l.resolved_at, percent_rank() over (order by l.id) as place
        from resolver.leads l join resolver.accounts a on a.id = l.account_id where a.name = :account) p
    where resolved_at is not null
""")


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: the budget of each account, how long LeadByte takes to answer, and how many workers there are."""

    rate: float
    concurrency: int
    latency_seconds: float
    workers: int
    seconds: float
    many: int | None = None  # due leads of the larger account


@dataclass(frozen=True, slots=True)
class Kept:
    """What the sandbox saw of one account."""

    rate: float
    concurrency: int
    latency_seconds: float
    account: str
    leads: int
    most_a_second: int
    most_at_once: int
    used: float  # of the budget: the calls in the time that was looked at, by those that it allows
    oldest: float  # of the leads asked about: in the older half of the due ones


def measure(folder: Path, plan: Plan) -> Iterator[Kept]:
    """Give `many` ten times the leads of `few`, both more than their budgets bear, and look on."""
    options = SandboxSettings(
        account="many", key=_KEYS["many"], other_accounts={"few": _KEYS["few"]}, latency_seconds=plan.latency_seconds
    )
    leads = int(plan.rate * (plan.seconds + 2 * WARM_UP_SECONDS))
    counts = {"many": plan.many or 10 * leads, "few": leads}
    with (
        EmbeddedPostgres(folder / "postgres", fast=True) as postgres,
        EmbeddedRedis(folder / "redis") as redis,
        running_sandbox(options) as sandbox,
        Launcher(folder / "logs", on_event=lambda _: None, grace_seconds=5) as launcher,
    ):
        environment = _make_environment(folder, plan, postgres, redis, sandbox)
        engine = open_postgres(postgres)
        make_due(engine, counts)
        for n in range(plan.workers):
            arguments = (*WORKER_ARGUMENTS, "--concurrency=1", "-n", f"worker-{n}@%h")
            launcher.start(ChildSpec(f"worker-{n}", (sys.executable, "-m", *CELERY, *arguments), environment))
        launcher.start(ChildSpec("beat", (sys.executable, "-m", *CELERY, *BEAT_ARGUMENTS), environment))
        seen = _look_on(sandbox, plan)
        for account, count in counts.items():
            yield _judge(seen, plan, account, count, _list_places(engine, account))
        engine.dispose()


def _make_environment(
    folder: Path, plan: Plan, postgres: EmbeddedPostgres, redis: EmbeddedRedis, sandbox: SandboxClient
) -> dict[str, str]:
    accounts = write_accounts(folder, sandbox.base_url, _KEYS, dict.fromkeys(_KEYS, plan.rate), plan.concurrency)
    return child_environment(DATABASE_URL=postgres.url, REDIS_URL=redis.url, LEADBYTE_ACCOUNTS_FILE=str(accounts))


def write_accounts(
    folder: Path, base_url: str, keys: Mapping[str, str], rates: Mapping[str, float], concurrency: int
) -> Path:
    """The accounts file; `rates` are requests a second."""
    tables = [
        f'[accounts.{name}]\napi_key = "{key}"\nbase_url = "{base_url}"\n'
        f"requests_per_second = {rates[name]}\nconcurrency = {concurrency}\n"
        for name, key in keys.items()
    ]
    accounts = folder / "accounts.toml"
    accounts.write_text("\n".join(tables))
    accounts.chmod(0o600)
    return accounts


def open_postgres(postgres: EmbeddedPostgres) -> Engine:
    """The server's database, as the worker opens it."""
    return open_engine(make_url(postgres.url).set(drivername="postgresql+psycopg"))


def make_due(engine: Engine, counts: Mapping[str, int]) -> None:
    """So many leads of each account, all of them overdue since sometime within the last day."""
    migrate_to_head(engine)
    for account, count in counts.items():
        queue_ids = (intake.Submission(f"sandbox-approved-{account}-{n}") for n in range(count))
        assert not any(batch.refused for batch in intake.track(engine, account, queue_ids))
    with transaction(engine) as connection:
        connection.execute(_OVERDUE)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))  # as autovacuum would have done it by now


def _list_places(engine: Engine, account: str) -> list[float]:
    """Where each lead that was asked about was among its account's due ones, the oldest at 0, the newest at 1."""
    with transaction(engine) as connection:
        return list(connection.execute(_PLACES, {"account": account}).scalars())


def wait_for_calls(sandbox: SandboxClient, accounts: int) -> None:
    """Until so many accounts have been asked of."""
    until = time.monotonic() + 120
    while len(sandbox.calls()["by_account"]) < accounts and time.monotonic() < until:
        time.sleep(0.1)


def _look_on(sandbox: SandboxClient, plan: Plan) -> dict[str, Any]:
    """The calls that the sandbox has seen when the time is up."""
    wait_for_calls(sandbox, len(_KEYS))
    time.sleep(WARM_UP_SECONDS + plan.seconds)
    return sandbox.calls(instants=True)


def _judge(seen: dict[str, Any], plan: Plan, account: str, leads: int, places: list[float]) -> Kept:
    end = max(at for at, _, _ in seen["instants"])
    counted = sum(whose == account and end - plan.seconds <= at < end for at, whose, _ in seen["instants"])
    peaks = seen["by_account"][account]
    return Kept(
        plan.rate,
        plan.concurrency,
        plan.latency_seconds,
        account,
        leads,
        peaks["peak_per_second"],
        peaks["peak_concurrency"],
        counted / (plan.rate * plan.seconds),
        sum(place < 0.5 for place in places) / max(1, len(places)),
    )


def main() -> None:
    """Measure every combination asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[20, 100])
    parser.add_argument("--concurrency", type=int, default=20)
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[20, 500])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--many", type=int, help="due leads of the larger account; ten times the other's unless given")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", action="store_true", dest="as_json")
    chosen = parser.parse_args()
    # The sandbox, whose clock is the witness, runs in this process: while everything is collected (80 ms) it looks at
    # nothing, and the calls that come meanwhile seem to have come together.
    gc.disable()
    found: list[Kept] = []
    for rate, latency in product(chosen.rates, chosen.latency_ms):
        plan = Plan(rate, chosen.concurrency, latency / 1000, chosen.workers, chosen.seconds, chosen.many)
        with tempfile.TemporaryDirectory(prefix="manners-") as folder:
            found += measure(Path(folder), plan)
    if chosen.as_json:
        sys.stdout.write(json.dumps([asdict(kept) for kept in found], indent=2) + "\n")
        return
    table = Table(
        "budget",
        "at once",
        "answers in",
        "account",
        "due",
        "most a second",
        "most at once",
        "used",
        "older half",
        box=None,
    )
    for kept in found:
        table.add_row(
            f"{kept.rate:g}/s",
            str(kept.concurrency),
            f"{1000 * kept.latency_seconds:g} ms",
            kept.account,
            f"{kept.leads:,}",
            str(kept.most_a_second),
            str(kept.most_at_once),
            f"{kept.used:.1%}",
            f"{kept.oldest:.0%}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
