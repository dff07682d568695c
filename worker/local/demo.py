"""The whole product on this machine, against the sandbox, checked against the sandbox's own truth.

Each step is what a real installation does: servers, migration, processes, `POST /leads`, intake, polling, reports.
Neighbours: `worker.local.stack` (which processes), `worker.cli.demo_page` (what a person sees).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url

from worker import intake
from worker.errors import LocalServerError
from worker.local.agreement import Agreement, compare
from worker.local.folder import claim_data_folder
from worker.local.ports import choose_free_port
from worker.local.postgres import EmbeddedPostgres
from worker.local.processes import ChildSpec, Launcher
from worker.local.redis import EmbeddedRedis
from worker.local.stack import FlowerPage, child_environment, choose_flower_page, list_processes, write_environment
from worker.sandbox import SandboxClient
from worker.store import inquiries
from worker.store.db import open_engine, transaction
from worker.store.migrate import migrate_to_head

ACCOUNT = "sandbox"
KEY = "sandbox-key"  # of the sandbox: it opens nothing else
MEDIAN_SECONDS = 2.0
LONGEST_SECONDS = 300.0
# Stories that end only after somebody acted, or days later, have no place in a minute.
LEFT_OUT = ("returned", "requarantined")
_SUBMIT_AT_ONCE = 100

_PROGRESS = text("""
    select state, count(*) as leads, sum(polls)::bigint as polls from reporting.leads group by state
""")
_RECORDED = text("""
    select queue_id, extract(epoch from max(at))::double precision as recorded_at
    from reporting.events where to_state in ('approved', 'rejected', 'returned') and from_state <> to_state
    group by queue_id
""")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the demo is: leads by state, polls made, seconds since the first submission."""

    states: dict[str, int]
    polls: int
    elapsed_seconds: float
    submitted: int

    @property
    def waiting(self) -> int:
        """Leads that neither have a verdict nor are held."""
        return self.submitted - sum(self.states.get(state, 0) for state in _SETTLED)


_SETTLED = ("approved", "rejected", "returned", "abandoned", "quarantined")


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo found, as rows for tables or JSON."""

    leads: int
    elapsed_seconds: float
    campaigns: list[inquiries.Row]
    refusals: list[inquiries.Row]
    buyers: list[inquiries.Row]
    deliveries: list[inquiries.Row]
    states: dict[str, int]
    polls_per_lead: float
    seconds_to_record_median: float | None
    seconds_to_record_p95: float | None
    agreement: Agreement


@dataclass(slots=True)
class Demo:
    """A running demo: the processes, and what is needed to watch them."""

    engine: Engine
    sandbox: SandboxClient
    page: FlowerPage
    folder: Path
    environment: dict[str, str]
    _checks: list[Callable[[], None]] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)
    _submitted: int = 0

    def submit(self, count: int) -> Iterator[Progress]:
        """Submit leads as a capture site would, and record the queue IDs that come back."""
        self._started = time.monotonic()
        for start in range(0, count, _SUBMIT_AT_ONCE):
            queue_ids = self.sandbox.submit(min(_SUBMIT_AT_ONCE, count - start))
            for _ in intake.track(self.engine, ACCOUNT, map(intake.Submission, queue_ids)):
                self._submitted += len(queue_ids)
            yield self.look()

    def watch(self) -> Iterator[Progress]:
        """Look twice a second until every lead has its verdict or is held, there and here.

        Raises:
            LocalServerError: a process died, or some leads got no verdict within LONGEST_SECONDS.
        """
        while True:
            self.check()
            progress = self.look()
            yield progress
            if progress.waiting == 0 and self._is_settled():
                return
            if progress.elapsed_seconds > LONGEST_SECONDS:
                raise LocalServerError(f"{progress.waiting} leads have no verdict after {LONGEST_SECONDS:.0f} s")
            time.sleep(0.5)

    def check(self) -> None:
        """LocalServerError if any process has died."""
        for check in self._checks:
            check()

    def look(self) -> Progress:
        """How far it is now."""
        with transaction(self.engine) as connection:
            rows = connection.execute(_PROGRESS).all()
        states = {row.state: row.leads for row in rows}
        return Progress(states, sum(row.polls for row in rows), time.monotonic() - self._started, self._submitted)

    def report(self) -> DemoReport:
        """The reports of the database, and the comparison with the sandbox's truth."""
        progress = self.look()
        truth = self.sandbox.truth()
        with transaction(self.engine) as connection:
            lags = sorted(_list_lags(truth, dict(connection.execute(_RECORDED).tuples().all())))
            return DemoReport(
                leads=self._submitted,
                elapsed_seconds=round(progress.elapsed_seconds, 1),
                campaigns=inquiries.read_report(connection, "campaign", None, None),
                refusals=inquiries.read_refusals(connection),
                buyers=inquiries.read_report(connection, "buyer", None, None),
                deliveries=inquiries.read_delivery_counts(connection),
                states=progress.states,
                polls_per_lead=round(progress.polls / max(self._submitted, 1), 2),
                seconds_to_record_median=round(median(lags), 2) if lags else None,
                seconds_to_record_p95=round(quantiles(lags, n=20)[-1], 2) if len(lags) > 1 else None,
                agreement=compare(truth, {lead: _read_one(connection, lead) for lead in truth}),
            )

    def _is_settled(self) -> bool:
        truth = self.sandbox.truth()
        ours = self.look().states
        theirs = sum(lead["settled"] or lead["status"] == "Quarantined" for lead in truth.values())
        return bool(theirs == self._submitted == sum(ours.values()))


@contextmanager
def running_demo(tell: Callable[[str], None], seed: int = 1) -> Iterator[Demo]:
    """Start everything in a folder of its own, and end and remove it afterwards; `tell` is told each step.

    Raises:
        LocalServerError: something did not start.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="lead-resolver-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(claim_data_folder(folder))
        tell("starting Postgres and Redis")
        postgres = stack.enter_context(EmbeddedPostgres(folder, fast=True))
        redis = stack.enter_context(EmbeddedRedis(folder))
        engine = open_engine(make_url(postgres.url).set(drivername="postgresql+psycopg"))
        stack.callback(engine.dispose)
        tell("applying the migrations")
        migrate_to_head(engine)
        launcher = stack.enter_context(Launcher(folder / "logs", on_event=lambda _: None))
        tell("starting the sandbox LeadByte, worker, beat and Flower")
        sandbox = _start_sandbox(launcher, seed)
        page = choose_flower_page()
        settings = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "LEADBYTE_ACCOUNT": ACCOUNT,
            "LEADBYTE_API_KEY": KEY,
            "LEADBYTE_BASE_URL": sandbox.base_url,
            "LEADBYTE_REQUESTS_PER_SECOND": "100",
            "LEADBYTE_CONCURRENCY": "8",
            "LEADBYTE_ACCOUNTS_FILE": "",
            "LEADBYTE_API_KEY_FILE": "",
        }
        write_environment(folder, settings)
        environment = child_environment(**settings)
        for process in list_processes(environment, page, worker_processes=2, restart=False):
            launcher.start(process)
        checks = [launcher.check, postgres.check, redis.check]
        yield Demo(engine, sandbox, page, folder, environment, checks)


def _start_sandbox(launcher: Launcher, seed: int) -> SandboxClient:
    port = choose_free_port()
    client = SandboxClient(f"http://127.0.0.1:{port}", KEY)
    options = ("--port", str(port), "--seed", str(seed), "--median-seconds", str(MEDIAN_SECONDS), "--preset", "demo")
    without = tuple(option for story in LEFT_OUT for option in ("--without", story))
    argv = (sys.executable, "-m", "worker", "sandbox", *options, *without)
    launcher.start(ChildSpec("sandbox", argv, child_environment(), ready=lambda: _is_up(client)))
    return client


def _is_up(client: SandboxClient) -> bool:
    try:
        client.health()
    except OSError:
        return False
    return True


def _read_one(connection: Connection, queue_id: str) -> inquiries.Row | None:
    leads = inquiries.read_leads(connection, queue_id, ACCOUNT)
    return leads[0] if leads else None


def _list_lags(truth: dict[str, dict[str, Any]], recorded: dict[str, float]) -> Iterator[float]:
    """Seconds from the moment LeadByte resolved a lead to the moment it was recorded here."""
    for queue_id, at in recorded.items():
        resolved = truth.get(queue_id, {}).get("resolved_unix")
        if resolved is not None:
            yield max(0.0, at - resolved)
