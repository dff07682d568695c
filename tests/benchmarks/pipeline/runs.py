"""One run of one contestant, measured: from the moment at which it may begin until every lead is final and stored."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psycopg

from tests.benchmarks.pipeline.machine import read_cpu_seconds, read_megabytes
from tests.benchmarks.pipeline.replies import Expected, count_expected
from worker.local.processes import Launcher

LONGEST_RUN_SECONDS = 240.0
_LOOK_SECONDS = 0.05
_PUSH_SECONDS = 0.1
Connection = psycopg.Connection[tuple[int, ...]]


class RunFailed(Exception):
    """A contestant did not do the work."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the upstream is like: how long an answer takes, and at which poll it tells the verdict."""

    latency_ms: float
    polls: int

    def __str__(self) -> str:
        return f"{self.latency_ms:g} ms, {self.polls} poll{'s' if self.polls > 1 else ''} a lead"


@dataclass(frozen=True, slots=True)
class Arena:
    """What one run takes place in: a database and an upstream of its own, an empty Redis."""

    folder: Path
    database_url: str
    redis_url: str
    base_url: str
    scenario: Scenario
    processes: int
    concurrency: int
    # For accounting alone; nothing is sent to them.
    upstream_pid: int
    postgres_pid: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run took; CPU is the workers' own, of all their processes, in seconds."""

    contestant: str
    latency_ms: float
    polls: int
    leads: int
    seconds: float
    cpu_seconds: float
    megabytes: float
    postgres_cpu_seconds: float
    upstream_share: float  # of one core, which is all it can use

    @property
    def leads_per_second(self) -> float:
        """By the clock on the wall, waiting included."""
        return self.leads / self.seconds

    @property
    def cpu_ms_per_lead(self) -> float:
        """Of the workers."""
        return 1000 * self.cpu_seconds / self.leads


class Contestant(ABC):
    """A way of doing the work. `leads_share`: of the run's leads, so that a slow one does not take all day."""

    name: ClassVar[str]
    leads_share: ClassVar[float] = 1.0

    @abstractmethod
    def start(self, arena: Arena, queue_ids: Sequence[str], launcher: Launcher) -> None:
        """Record the leads and start the processes; return when they only wait for the word."""

    @abstractmethod
    def go(self, arena: Arena, launcher: Launcher) -> None:
        """Say the word."""

    @abstractmethod
    def count_open(self, connection: Connection) -> int:
        """Leads without a stored verdict."""

    @abstractmethod
    def count_stored(self, connection: Connection) -> Expected:
        """What is in the tables at the end."""

    def make_due(self, connection: Connection) -> None:
        """Make re-polls due now that are scheduled for later: here work is measured, not waiting."""
        del connection


def run_contestant(contestant: Contestant, arena: Arena, queue_ids: Sequence[str]) -> Measured:
    """Start, say go, wait, account, check, end."""
    with (
        Launcher(arena.folder, on_event=lambda _: None, grace_seconds=5) as launcher,
        psycopg.connect(arena.database_url, autocommit=True) as connection,
    ):
        contestant.start(arena, queue_ids, launcher)
        pids = list(launcher.children.values())
        groups = (pids, [arena.postgres_pid], [arena.upstream_pid])
        cpu_before = [read_cpu_seconds(group) for group in groups]
        began_at = time.monotonic()
        contestant.go(arena, launcher)
        _wait_until_done(contestant, arena.scenario, connection, began_at)
        seconds = time.monotonic() - began_at
        own, postgres, upstream = (
            read_cpu_seconds(group) - before for group, before in zip(groups, cpu_before, strict=True)
        )
        memory = read_megabytes(pids)
        _check(contestant, connection, queue_ids)
    scenario = arena.scenario
    return Measured(
        contestant=contestant.name,
        latency_ms=scenario.latency_ms,
        polls=scenario.polls,
        leads=len(queue_ids),
        seconds=seconds,
        cpu_seconds=own,
        megabytes=memory,
        postgres_cpu_seconds=postgres,
        upstream_share=upstream / seconds,
    )


def says_ready(log: Path, word: str) -> bool:
    """Whether a process has logged that it is ready."""
    return log.exists() and word in log.read_text("utf-8", "replace")


def _wait_until_done(contestant: Contestant, scenario: Scenario, connection: Connection, began_at: float) -> None:
    push_at = began_at + _PUSH_SECONDS
    while left := contestant.count_open(connection):
        now = time.monotonic()
        if now - began_at > LONGEST_RUN_SECONDS:
            raise RunFailed(f"{contestant.name}: {left} leads are still open after {LONGEST_RUN_SECONDS:.0f} s")
        if scenario.polls > 1 and now >= push_at:
            contestant.make_due(connection)
            push_at = now + _PUSH_SECONDS
        time.sleep(_LOOK_SECONDS)


def _check(contestant: Contestant, connection: Connection, queue_ids: Sequence[str]) -> None:
    stored, expected = contestant.count_stored(connection), count_expected(queue_ids)
    if stored != expected:
        raise RunFailed(f"{contestant.name} stored {stored}, and should have stored {expected}")
