"""Postgres killed and started again under way: the workers stay, nothing is lost, nothing is recorded twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.processes.invariants import check_invariants
from tests.processes.stage import Stage, is_alive, open_stage
from worker.local.postgres import EmbeddedPostgres
from worker.local.redis import EmbeddedRedis
from worker.store.db import open_engine
from worker.store.migrate import migrate_to_head

pytestmark = pytest.mark.processes


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with EmbeddedPostgres(tmp_path, fast=True) as postgres, EmbeddedRedis(tmp_path) as redis:
        engine = open_engine(make_url(postgres.url).set(drivername="postgresql+psycopg"))
        migrate_to_head(engine)
        engine.dispose()
        with open_stage(tmp_path, postgres, postgres.url, redis) as stage:
            yield stage


def test_workers_survive_a_postgres_that_is_killed_again_and_again(stage: Stage) -> None:
    parts = [stage.prepare(6) for _ in range(3)]
    stage.sandbox.script("@poll", "slow-wait1")
    worker, beat = stage.start_worker(), stage.start_beat()
    stage.wait_until_ready("worker")
    for part in parts:
        stage.track(part)
        stage.wait_until_in_mid_batch()
        stage.postgres.kill()
        stage.wait_until_quiet()  # answers have come, and there is nowhere to write them down
        stage.postgres.start()
    stage.sandbox.clear_script()
    stage.wait_until_quiet()
    stage.expire_leases()
    stage.wait_until_resolved(stage.tracked)
    assert is_alive(worker)
    assert is_alive(beat)
    check_invariants(stage)
