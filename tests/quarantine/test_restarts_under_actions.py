"""Postgres killed between an action's effect and its record: recorded once it is back, and not sent again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.processes.stage import open_stage
from tests.quarantine.live_stage import LiveStage
from worker.local.postgres import EmbeddedPostgres
from worker.local.redis import EmbeddedRedis
from worker.store.db import open_engine
from worker.store.migrate import migrate_to_head

pytestmark = pytest.mark.processes


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveStage]:
    with EmbeddedPostgres(tmp_path, fast=True) as postgres, EmbeddedRedis(tmp_path) as redis:
        engine = open_engine(make_url(postgres.url).set(drivername="postgresql+psycopg"))
        migrate_to_head(engine)
        engine.dispose()

        def sql(statement: str, *values: object) -> list[tuple[Any, ...]]:
            with psycopg.connect(postgres.url, autocommit=True) as connection:
                cursor = connection.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

        with open_stage(tmp_path, postgres, postgres.url, redis) as stage:
            yield LiveStage(stage, sql)


def test_an_effect_whose_record_found_no_postgres_is_recorded_when_it_is_back(live: LiveStage) -> None:
    live.stage.start_beat()
    live.start("worker")
    ((queue_id, held),) = live.hold(1).items()
    live.stage.sandbox.script("@process", "slow-wait2", 1)
    live.ask("release", [queue_id])
    live.stage.wait_until(lambda: bool(live.stage.sandbox.calls()["quarantine_requests"]), "the request has arrived")
    live.stage.postgres.kill()
    live.stage.wait_until_quiet()  # the answer has come, and there is nowhere to write it down
    live.stage.postgres.start()
    live.stage.wait_until(lambda: bool(live.stage.read_events("worker", "actions_sent")), "it was recorded")
    assert live.stage.read_events("worker", "actions_sent")[0]["acknowledged"] == 1
    live.wait_until_concluded()
    assert not live.find_violations()
    assert live.stage.sandbox.calls()["quarantine_requests"] == {held: {"process": 1}}
