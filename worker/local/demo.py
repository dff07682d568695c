"""The whole product on this machine, against the sandbox, checked against the sandbox's own truth.

Each step is what a real installation does: servers, migration, processes, `POST /leads`, intake, polling, actions.
Neighbours: `worker.local.stack` (which processes), `worker.local.desk` (who acts on held leads),
`worker.local.demo_report` (what came of it), `worker.cli.demo_page` (what a person sees).
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

from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from worker import intake
from worker.domain.lifecycle import FINAL
from worker.errors import LocalServerError
from worker.local.agreement import name_state
from worker.local.demo_report import DemoReport, read_demo_report
from worker.local.desk import Operator
from worker.local.folder import claim_data_folder
from worker.local.ports import choose_free_port
from worker.local.postgres import EmbeddedPostgres
from worker.local.processes import ChildSpec, Launcher
from worker.local.redis import EmbeddedRedis
from worker.local.stack import FlowerPage, child_environment, choose_flower_page, list_processes, write_environment
from worker.sandbox import SandboxClient
from worker.store.db import open_engine, transaction
from worker.store.migrate import migrate_to_head

ACCOUNT = "sandbox"
KEY = "sandbox-key"  # of the sandbox: it opens nothing else
MEDIAN_SECONDS = 2.0
RETURN_SECONDS = 4.0  # for a return in real life it is days
LONGEST_SECONDS = 300.0
LONGEST_SECONDS_A_LEAD = 0.05  # beyond the first few thousand it is the account's budget that takes the time
# What takes days in real life has a minute here: looks for returns, and for what became of an unanswered action.
HASTE = {
    "LEAD_RESOLVER_RECHECK_DAYS": "1",
    "LEAD_RESOLVER_RECHECK_EVERY_HOURS": "0.001",
    "LEAD_RESOLVER_RECHECK_SHARE": "0.4",
    "LEAD_RESOLVER_ACTION_SETTLE_SECONDS": "10",
}
_SUBMIT_AT_ONCE = 100
_PATIENCE_WITH_TRUTH = 5  # times as long as telling it takes: the sandbox has leads to answer for

_PROGRESS = text("""
    select state, count(*) as leads, sum(polls)::bigint as polls from reporting.leads group by state
""")
_ACTIONS = text("""
    select action_state, count(*) from reporting.quarantine where action_id is not null group by action_state
""")
_STATES = text("select queue_id, state, quarantine_id from reporting.leads")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the demo is: leads and actions by state, polls made, seconds since the first submission."""

    states: dict[str, int]
    actions: dict[str, int]
    polls: int
    elapsed_seconds: float
    submitted: int

    @property
    def waiting(self) -> int:
        """Leads that neither have a verdict nor are held."""
        return self.submitted - self.final - sum(self.states.get(state, 0) for state in ("abandoned", "quarantined"))

    @property
    def final(self) -> int:
        """Leads with a verdict."""
        return sum(self.states.get(state, 0) for state in FINAL)

    @property
    def acting(self) -> int:
        """Actions that have not come to their end."""
        return sum(self.actions.get(state, 0) for state in _UNDER_WAY)

    @property
    def waits_for(self) -> str:
        """What is still to come, in words."""
        awaited = [(self.waiting, "verdict"), (self.acting, "action")]
        said = [f"{count} {what}{'s' * (count != 1)}" for count, what in awaited if count]
        return " and ".join(said) or "returns: final leads are looked at again"


_UNDER_WAY = ("requested", "sent", "acknowledged", "unsure")


@dataclass(slots=True)
class Demo:
    """A running demo: the processes, and what is needed to watch them."""

    engine: Engine
    sandbox: SandboxClient
    page: FlowerPage
    folder: Path
    environment: dict[str, str]
    operator: Operator
    _checks: list[Callable[[], None]] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)
    _submitted: int = 0
    _next_truth_at: float = 0.0

    def submit(self, count: int) -> Iterator[Progress]:
        """Submit leads as a capture site would, and record the queue IDs that come back."""
        self._started = time.monotonic()
        for start in range(0, count, _SUBMIT_AT_ONCE):
            queue_ids = self.sandbox.submit(min(_SUBMIT_AT_ONCE, count - start))
            for _ in intake.track(self.engine, ACCOUNT, map(intake.Submission, queue_ids)):
                self._submitted += len(queue_ids)
            yield self.look()

    def watch(self) -> Iterator[Progress]:
        """Act on held leads and look twice a second, until nothing more is to come, there or here.

        Raises:
            LocalServerError: a process died, or leads or actions came to no end in all the time there is.
        """
        longest_seconds = LONGEST_SECONDS + LONGEST_SECONDS_A_LEAD * self._submitted
        while True:
            self.check()
            self.operator.take_turn()
            progress = self.look()
            yield progress
            if progress.waiting == 0 and progress.acting == 0 and self._is_settled():
                return
            if progress.elapsed_seconds > longest_seconds:
                if not progress.waiting and not progress.acting:
                    return  # there and here differ, and the report says where
                raise LocalServerError(f"after {longest_seconds:.0f} s still waiting for {progress.waits_for}")
            time.sleep(0.5)

    def check(self) -> None:
        """LocalServerError if any process has died."""
        for check in self._checks:
            check()

    def look(self) -> Progress:
        """How far it is now."""
        with transaction(self.engine) as connection:
            rows = connection.execute(_PROGRESS).all()
            actions: dict[str, int] = dict(connection.execute(_ACTIONS).tuples().all())
        states, polls = {row.state: row.leads for row in rows}, sum(row.polls for row in rows)
        return Progress(states, actions, polls, time.monotonic() - self._started, self._submitted)

    def report(self) -> DemoReport:
        """What was found, compared with the sandbox's truth."""
        now = self.look()
        return read_demo_report(self.engine, self.sandbox, ACCOUNT, now.states, now.elapsed_seconds)

    def _is_settled(self) -> bool:
        """Whether each lead is, there and here, in the same state, and either final or held and decided about."""
        began_at = time.monotonic()
        if began_at < self._next_truth_at:
            return False
        truth = self.sandbox.truth()
        self._next_truth_at = time.monotonic() + _PATIENCE_WITH_TRUTH * (time.monotonic() - began_at)
        with transaction(self.engine) as connection:
            ours = {row.queue_id: row for row in connection.execute(_STATES)}
        return len(ours) == self._submitted == len(truth) and all(
            ours[queue_id].state == name_state(lead["status"])
            and (lead["settled"] or self._is_left_held(lead["quarantine_id"], ours[queue_id].quarantine_id))
            for queue_id, lead in truth.items()
        )

    def _is_left_held(self, theirs: int | None, ours: str | None) -> bool:
        return theirs is not None and str(theirs) == ours and ours in self.operator.decided


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
            "LEADBYTE_REQUESTS_PER_SECOND": "200",
            "LEADBYTE_CONCURRENCY": "8",
            "LEADBYTE_ACCOUNTS_FILE": "",
            "LEADBYTE_API_KEY_FILE": "",
            **HASTE,
        }
        write_environment(folder, settings)
        environment = child_environment(**settings)
        for process in list_processes(environment, page, worker_processes=2, restart=False):
            launcher.start(process)
        checks = [launcher.check, postgres.check, redis.check]
        yield Demo(engine, sandbox, page, folder, environment, Operator(engine, sandbox, ACCOUNT), checks)


def _start_sandbox(launcher: Launcher, seed: int) -> SandboxClient:
    port = choose_free_port()
    client = SandboxClient(f"http://127.0.0.1:{port}", KEY)
    times = ("--median-seconds", str(MEDIAN_SECONDS), "--return-seconds", str(RETURN_SECONDS))
    options = ("--port", str(port), "--seed", str(seed), "--preset", "demo", *times)
    argv = (sys.executable, "-m", "worker", "sandbox", *options)
    launcher.start(ChildSpec("sandbox", argv, child_environment(), ready=lambda: _is_up(client)))
    return client


def _is_up(client: SandboxClient) -> bool:
    try:
        client.health()
    except OSError:
        return False
    return True
