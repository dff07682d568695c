"""The product itself, as the Procfile runs it: a Celery worker and beat. Only its account's budget is lifted."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

import psycopg
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from tests.benchmarks.pipeline.replies import Expected, name_leads
from tests.benchmarks.pipeline.runs import LONGEST_RUN_SECONDS, Arena, Connection, Contestant, RunFailed, says_ready
from worker import intake, operations
from worker.local.processes import ChildSpec, Launcher
from worker.local.stack import BEAT_ARGUMENTS, CELERY, WORKER_ARGUMENTS
from worker.settings import MOST_REQUESTS_PER_SECOND, Settings
from worker.store.db import open_engine

ACCOUNT = "bench"
_WARM_UP_RUN, _MOST_WARM_UP_LEADS = 0xFFFFFFFE, 1_000
# What a user may set to tune the worker; everything else of the machine's environment is kept out.
_PASSED_ON = {f"LEAD_RESOLVER_{name}" for name in ("BATCH_SIZE", "LOG_FORMAT", "LOG_LEVEL", "TRANSPORT")}

# By the index of what is due, so that Postgres' time goes to the worker. The upstream's leads are queued, and put off
# for less than a minute, or have a verdict that waits to be persisted: SETTLE_GRACE, five minutes.
_MAKE_DUE = """
    update resolver.watches set next_poll_at = now() - interval '1 millisecond'
    where lead_id = any(array(
        select lead_id from resolver.watches
        where account_id = any(array(select id from resolver.accounts)) and claim_id is null
            and next_poll_at > now() and next_poll_at < now() + interval '4 minutes'
        for update skip locked
    ))
"""
_COUNT_OPEN = """
    select (select count(*) from resolver.leads where resolved_at is null)
        + (select count(*) from resolver.unpersisted)
"""
_COUNT_STORED = """
    select count(*) filter (where state = 'approved' and sold), count(*) filter (where state = 'rejected'),
        (select count(*) from reporting.buyers), (select count(*) from reporting.deliveries)
    from reporting.leads where campaign_accepted is not null
        and exists (select from reporting.events e where e.queue_id = leads.queue_id and e.to_state = leads.state)
"""


class Ours(Contestant):
    """lead-resolver."""

    name = "lead-resolver"

    def start(self, arena: Arena, queue_ids: Sequence[str], launcher: Launcher) -> None:
        engine = _open(arena)
        environment = _make_environment(arena)
        worker = (*WORKER_ARGUMENTS, f"--concurrency={arena.processes}")
        log = arena.folder / "worker.log"
        launcher.start(ChildSpec("worker", _argv(worker), environment, lambda: says_ready(log, " ready.")))
        launcher.start(ChildSpec("beat", _argv(BEAT_ARGUMENTS), environment))
        self._warm_up(arena, engine, min(_MOST_WARM_UP_LEADS, len(queue_ids)))
        operations.pause(engine, ACCOUNT, "the benchmark has not begun")
        _track(engine, queue_ids)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("vacuum analyze")  # as autovacuum would have done it by now
        engine.dispose()

    def _warm_up(self, arena: Arena, engine: Engine, leads: int) -> None:
        """Let every process import what it needs and connect: a worker lives for days, and this is none of its work."""
        _track(engine, name_leads(_WARM_UP_RUN, leads))
        until = time.monotonic() + LONGEST_RUN_SECONDS
        with psycopg.connect(arena.database_url, autocommit=True) as connection:
            while self.count_open(connection):
                if time.monotonic() > until:
                    raise RunFailed("lead-resolver did not even finish its warm-up")
                connection.execute(_MAKE_DUE)
                time.sleep(0.1)
            connection.execute("delete from resolver.leads")  # and with them all that was told of them

    def go(self, arena: Arena, launcher: Launcher) -> None:
        del launcher
        engine = _open(arena)
        operations.resume(engine, ACCOUNT)
        engine.dispose()

    def count_open(self, connection: Connection) -> int:
        row = connection.execute(_COUNT_OPEN).fetchone()
        return row[0] if row else 0

    def count_stored(self, connection: Connection) -> Expected:
        row = connection.execute(_COUNT_STORED).fetchone()
        assert row is not None
        return Expected(*row)

    def make_due(self, connection: Connection) -> None:
        connection.execute(_MAKE_DUE)


def _track(engine: Engine, queue_ids: Sequence[str]) -> None:
    for batch in intake.track(engine, ACCOUNT, map(intake.Submission, queue_ids)):
        assert not batch.refused
    with engine.begin() as connection:
        connection.exec_driver_sql(_MAKE_DUE)


def _open(arena: Arena) -> Engine:
    return open_engine(make_url(arena.database_url).set(drivername="postgresql+psycopg"))


def _argv(arguments: Sequence[str]) -> tuple[str, ...]:
    return (sys.executable, "-m", *CELERY, *arguments)


def _make_environment(arena: Arena) -> dict[str, str]:
    settings = {name.upper() for name in Settings.model_fields} - _PASSED_ON
    kept = {name: value for name, value in os.environ.items() if name not in settings}
    return {
        **kept,
        "DATABASE_URL": arena.database_url,
        "REDIS_URL": arena.redis_url,
        "LEADBYTE_ACCOUNT": ACCOUNT,
        "LEADBYTE_API_KEY": "benchmark-key",
        "LEADBYTE_BASE_URL": arena.base_url,
        "LEADBYTE_REQUESTS_PER_SECOND": str(MOST_REQUESTS_PER_SECOND),
        "LEADBYTE_CONCURRENCY": str(arena.concurrency),
    }
