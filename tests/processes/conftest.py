"""A stage for each test: its own Redis and database, on the run's Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.stage import Stage, open_stage
from worker.local.postgres import EmbeddedPostgres
from worker.local.redis import EmbeddedRedis


@pytest.fixture
def stage(tmp_path: Path, postgres: EmbeddedPostgres, database_url: str) -> Iterator[Stage]:
    with EmbeddedRedis(tmp_path) as redis, open_stage(tmp_path, postgres, database_url, redis) as stage:
        yield stage
