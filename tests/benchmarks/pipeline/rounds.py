"""All runs of a benchmark: scenario by scenario, and in each, contestants take turns, round after round.

Taking turns, so that whatever else the machine does meanwhile falls on all alike.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from redis import Redis
from sqlalchemy.engine import make_url

from tests.benchmarks.pipeline.machine import Machine, describe_machine
from tests.benchmarks.pipeline.replies import name_leads
from tests.benchmarks.pipeline.runs import Arena, Contestant, Measured, Scenario, run_contestant
from tests.benchmarks.pipeline.upstream_process import Upstream, measure_ceiling, running_upstream
from worker.local.postgres import EmbeddedPostgres
from worker.local.redis import EmbeddedRedis
from worker.store.db import open_engine
from worker.store.migrate import migrate_to_head

_TEMPLATE = "migrated"
_CEILING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    leads: int
    rounds: int
    scenarios: tuple[Scenario, ...]
    contestants: tuple[Contestant, ...]
    processes: int
    concurrency: int

    @property
    def runs(self) -> int:
        """How many there will be."""
        return self.rounds * len(self.scenarios) * len(self.contestants)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the upstream could answer at most, in one scenario."""

    latency_ms: float
    polls: int
    answers_per_second: float


@dataclass(frozen=True, slots=True)
class Results:
    """Everything measured, in the order in which it was."""

    machine: Machine
    ceilings: list[Ceiling]
    runs: list[Measured]


def run_all(plan: Plan, on_run: Callable[[str], None]) -> Results:
    """Run the plan on servers of its own, all of which end with it; `on_run` is told what comes next."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lead-resolver-bench-")))
        # No fsync: a transaction a lead, as the peers have it, would otherwise wait for the disk each time.
        postgres = stack.enter_context(EmbeddedPostgres(folder, fast=True))
        redis = stack.enter_context(EmbeddedRedis(folder))
        _make_template(postgres.url)
        results = Results(describe_machine(postgres.url), [], [])
        for scenario in plan.scenarios:
            with running_upstream(folder, scenario) as upstream:
                on_run(f"{scenario}: the upstream's ceiling")
                results.ceilings.append(_find_ceiling(upstream, scenario, plan.concurrency))
                for number in range(plan.rounds):
                    for contestant in plan.contestants:
                        on_run(f"{scenario}: round {number + 1}, {contestant.name}")
                        arena = _prepare(plan, scenario, folder, postgres, redis, upstream)
                        results.runs.append(_run(plan, contestant, arena))
        return results


def _find_ceiling(upstream: Upstream, scenario: Scenario, concurrency: int) -> Ceiling:
    guess = measure_ceiling(upstream, concurrency, 2 * concurrency)
    answers_per_second = measure_ceiling(upstream, concurrency, max(2 * concurrency, int(guess * _CEILING_SECONDS)))
    return Ceiling(scenario.latency_ms, scenario.polls, answers_per_second)


def _prepare(
    plan: Plan, scenario: Scenario, folder: Path, postgres: EmbeddedPostgres, redis: EmbeddedRedis, upstream: Upstream
) -> Arena:
    name = f"run_{secrets.token_hex(4)}"
    run_folder = folder / name
    run_folder.mkdir()
    with Redis.from_url(redis.url) as client:
        client.flushall()
    return Arena(
        folder=run_folder,
        database_url=_url_of(postgres, name),
        redis_url=redis.url,
        base_url=upstream.base_url,
        scenario=scenario,
        processes=plan.processes,
        concurrency=plan.concurrency,
        upstream_pid=upstream.pid,
        postgres_pid=postgres.pid,
    )


def _run(plan: Plan, contestant: Contestant, arena: Arena) -> Measured:
    # Queue IDs of this run alone: the upstream counts polls by them.
    queue_ids = name_leads(secrets.randbits(31), max(1, int(plan.leads * contestant.leads_share)))
    with _running_database(arena):
        return run_contestant(contestant, arena, queue_ids)


@contextmanager
def _running_database(arena: Arena) -> Iterator[None]:
    url = make_url(arena.database_url)
    server = url.set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {url.database} template {_TEMPLATE}")
        try:
            yield
        finally:
            connection.execute(f"drop database {url.database} with (force)")


def _make_template(server_url: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"create database {_TEMPLATE}")
    engine = open_engine(make_url(server_url).set(drivername="postgresql+psycopg", database=_TEMPLATE))
    migrate_to_head(engine)
    engine.dispose()


def _url_of(postgres: EmbeddedPostgres, name: str) -> str:
    return make_url(postgres.url).set(database=name).render_as_string(hide_password=False)


def list_scenarios(latencies_ms: Sequence[float], polls: Sequence[int]) -> tuple[Scenario, ...]:
    """Every latency with every number of polls."""
    return tuple(Scenario(latency_ms, count) for latency_ms in latencies_ms for count in polls)
