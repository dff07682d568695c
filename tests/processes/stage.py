"""What the process tests play on: a sandbox LeadByte, a database, and workers and beats that are real processes."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from worker import intake
from worker.local.postgres import EmbeddedPostgres
from worker.local.proc import list_processes
from worker.local.processes import ChildSpec, Launcher
from worker.local.redis import EmbeddedRedis
from worker.local.stack import BEAT_ARGUMENTS, CELERY, WORKER_ARGUMENTS, child_environment
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.settings import load_settings
from worker.store.db import open_engine, transaction

ACCOUNT = "planted"
REQUESTS_PER_SECOND = 20
CONCURRENCY = 4
PATIENCE_SECONDS = 120.0
# What must be seen nowhere: the key, and what a person typed into the capture site's form.
KEY = "pLanted-kEy-9f27c1"
LEAD_DATA = {"firstname": "Plantedfirstname", "email": "planted.person@nowhere.example", "phone1": "07700900461"}
SECRETS = (KEY, *LEAD_DATA.values())
# Stories that end only after somebody acted, or days later, have no place in a fault test; the others end at once, so
# that every lead is asked about exactly once unless something goes wrong.
_NO_ENDLESS_STORIES = dict.fromkeys(("returned", "quarantined", "requarantined", "heldunsold"), 0)


@dataclass
class Stage:
    """One test's processes and what is needed to watch them. Everything it starts ends with it."""

    folder: Path
    engine: Engine
    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    sandbox: SandboxClient
    launcher: Launcher
    settings: dict[str, str]
    tracked: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What the processes are started with."""
        return child_environment(**self.settings)

    def adopt_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the command line, run in this process, work on this stage."""
        for name, value in self.settings.items():
            monkeypatch.setenv(name, value)
        load_settings.cache_clear()

    def start_worker(self, name: str = "worker", *, children: int = 1, failpoints: str = "") -> int:
        """Start a Celery worker; its pid. `wait_until_ready` says when it consumes."""
        arguments = (*WORKER_ARGUMENTS, f"--concurrency={children}", "-n", f"{name}@%h")
        return self._start(name, arguments, {"LEAD_RESOLVER_FAILPOINTS": failpoints})

    def start_beat(self, name: str = "beat") -> int:
        """Start a beat; its pid."""
        return self._start(name, BEAT_ARGUMENTS, {})

    def wait_until_ready(self, *names: str) -> None:
        """Until these workers consume."""
        for name in names:
            self.wait_until(lambda name=name: "ready." in self.read_log(name), f"{name} is ready")  # type: ignore[misc]

    def submit(self, count: int) -> list[str]:
        """Submit leads with the planted data, and record their queue IDs; they are due at once."""
        return self.track(self.prepare(count))

    def prepare(self, count: int) -> list[str]:
        """Submit leads to be tracked later: a submission while polls are under way counts among the calls at once."""
        return self.sandbox.submit(count, fields=LEAD_DATA)

    def track(self, queue_ids: Sequence[str]) -> list[str]:
        """Record queue IDs; they are due at once."""
        for batch in intake.track(self.engine, ACCOUNT, map(intake.Submission, queue_ids)):
            assert not batch.refused
        self.tracked += queue_ids
        self.execute(
            "update resolver.watches set next_poll_at = clock_timestamp() where queue_id = any(:ids) and polls = 0",
            ids=list(queue_ids),
        )
        return list(queue_ids)

    def expire_leases(self) -> None:
        """Back-date every lease, so that nobody has to wait a minute for it, and the last sweep."""
        self.execute("update resolver.watches set lease_until = clock_timestamp() where claim_id is not null")
        self.execute("update resolver.claims set lease_until = clock_timestamp()")
        self.execute("update resolver.ticks set at = at - interval '20 seconds' where duty = 'sweep'")

    def send(self, task: str, *args: object, times: int = 1, queue: str) -> None:
        """Put a task's message into its queue, as Celery does."""
        with Celery(broker=self.redis.url, set_as_current=False) as app:
            for _ in range(times):
                app.send_task(task, args=args, queue=queue)

    def execute(self, statement: str, **values: object) -> None:
        """Change the database behind everybody's back."""
        with transaction(self.engine) as connection:
            connection.execute(text(statement), values)

    def query(self, statement: str, **values: object) -> list[dict[str, Any]]:
        """Read the database."""
        with transaction(self.engine) as connection:
            return [dict(row) for row in connection.execute(text(statement), values).mappings()]

    def open_redis(self) -> Redis:
        """A client of the broker."""
        return Redis.from_url(self.redis.url)

    def read_log(self, name: str) -> str:
        """What a process has logged so far."""
        log = self.folder / "logs" / f"{name}.log"
        return log.read_text("utf-8", "replace") if log.exists() else ""

    def read_events(self, name: str, event: str) -> list[dict[str, Any]]:
        """A process's log lines of one event."""
        lines = (json.loads(line) for line in self.read_log(name).splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    def count_calls_under_way(self) -> int:
        """How many calls the sandbox is answering just now."""
        accounts = self.sandbox.calls()["by_account"]
        return int(accounts[ACCOUNT]["in_flight"]) if ACCOUNT in accounts else 0

    def wait_until_in_mid_batch(self) -> None:
        """Until a claimed lead is being asked about."""
        self.wait_until(lambda: self.count_calls_under_way() > 0, "a poll is under way")

    def wait_until_quiet(self) -> None:
        """Until the sandbox has answered, or given up answering, whoever asked."""
        self.wait_until(lambda: self.count_calls_under_way() == 0, "no poll is under way")

    def count_resolved(self, queue_ids: Sequence[str]) -> int:
        """How many of these leads are final."""
        (row,) = self.query(
            "select count(*) as n from resolver.leads where queue_id = any(:ids) and resolved_at is not null",
            ids=list(queue_ids),
        )
        return int(row["n"])

    def wait_until_resolved(self, queue_ids: Sequence[str], seconds: float = PATIENCE_SECONDS) -> None:
        """Until all these leads are final."""
        said = f"{len(queue_ids)} leads are resolved"
        self.wait_until(lambda: self.count_resolved(queue_ids) == len(queue_ids), said, seconds)

    def wait_until(self, condition: Callable[[], bool], said: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Look until it is so; the deadline is there to fail, never to pass."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"not so within {seconds:.0f} s: {said}\n{self._tell_all()}"
            time.sleep(0.05)

    def _start(self, name: str, arguments: Sequence[str], more: dict[str, str]) -> int:
        argv = (sys.executable, "-m", *CELERY, *arguments)
        self.launcher.start(ChildSpec(name, argv, {**self.environment, **more}))
        return self.launcher.children[name]

    def _tell_all(self) -> str:
        logs = (self.folder / "logs").glob("*.log")
        return "\n".join(f"--- {log.stem}\n{log.read_text('utf-8', 'replace')[-2500:]}" for log in sorted(logs))


@contextmanager
def open_stage(folder: Path, postgres: EmbeddedPostgres, database_url: str, redis: EmbeddedRedis) -> Iterator[Stage]:
    """A stage on a migrated database and a running, empty Redis."""
    options = SandboxSettings(
        key=KEY, account=ACCOUNT, preset="demo", weights=_NO_ENDLESS_STORIES, median_seconds=0.001
    )
    engine = open_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    launcher = Launcher(folder / "logs", on_event=lambda _: None, grace_seconds=0.2)
    try:
        with running_sandbox(options) as sandbox, launcher:
            settings = {
                "DATABASE_URL": database_url,
                "REDIS_URL": redis.url,
                "LEADBYTE_ACCOUNT": ACCOUNT,
                "LEADBYTE_API_KEY": KEY,
                "LEADBYTE_BASE_URL": sandbox.base_url,
                "LEADBYTE_REQUESTS_PER_SECOND": str(REQUESTS_PER_SECOND),
                "LEADBYTE_CONCURRENCY": str(CONCURRENCY),
                "LEAD_RESOLVER_LOG_FORMAT": "json",
            }
            yield Stage(folder, engine, postgres, redis, sandbox, launcher, settings)
    finally:
        engine.dispose()


def list_children(pid: int) -> list[int]:
    """The processes that `pid` has started."""
    return [entry.pid for entry in list_processes() if entry.parent_pid == pid]


def is_alive(pid: int) -> bool:
    """Whether it runs, or is stopped: not dead, reaped or not."""
    return any(entry.pid == pid for entry in list_processes())


def group_is_alive(pid: int) -> bool:
    """Whether anything of the process group still runs."""
    return any(entry.group == pid for entry in list_processes())


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and all it has started."""
    os.killpg(pid, number)
