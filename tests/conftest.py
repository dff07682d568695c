"""Real servers for the tests: one Postgres and one Redis a test process, a fresh database a test."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from tests.parallel import (  # noqa: F401 -- hooks, registered by their names
    pytest_cmdline_main,
    pytest_make_parametrize_id,
    pytest_xdist_make_scheduler,
)
from worker import runtime
from worker.leadbyte import pace
from worker.local.postgres import EmbeddedPostgres
from worker.local.redis import EmbeddedRedis
from worker.settings import Settings, load_settings
from worker.store.db import open_engine
from worker.store.migrate import migrate_to_head

MEMORY, ENOUGH_MEMORY = Path("/dev/shm"), 8 * 1024**3
# How long an example takes says something of the machine alone.
hypothesis.settings.register_profile(
    "unhurried", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

_OURS = {name.upper() for name in Settings.model_fields}


@pytest.fixture(scope="session", autouse=True)
def _hang_up_ends_processes() -> Iterator[None]:
    """Under `nohup` SIGHUP is ignored, and whoever we start would inherit that."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


@pytest.fixture(autouse=True)
def _fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the machine's own settings, or another test's."""
    for name in _OURS & os.environ.keys():
        monkeypatch.delenv(name)
    _forget_settings()
    yield
    _forget_settings()


@pytest.fixture(autouse=True)
def _no_request_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is short on a busy machine, for hundreds of requests above all; facts about lateness set their own."""
    monkeypatch.setattr(pace, "LATEST_SECONDS", 60.0)


def _forget_settings() -> None:
    load_settings.cache_clear()
    runtime.read_accounts.cache_clear()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The test process's Postgres. Tests that kill a server start their own."""
    with _open_folder(tmp_path_factory) as folder, EmbeddedPostgres(folder, fast=True) as server:
        yield server


@contextmanager
def _open_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory, if there is room: each test has a database of hundreds of files, which takes a disk 50 ms longer."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ENOUGH_MEMORY:
        yield tmp_path_factory.mktemp("postgres")
        return
    for left in MEMORY.glob("lead-resolver-tests.*"):  # by a run that was killed
        if not Path("/proc", left.name.split(".")[1]).exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"lead-resolver-tests.{os.getpid()}.", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """The test process's Redis. Tests that kill a server start their own."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database at the newest schema, for copying."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("create database migrated")
    engine = open_engine(make_url(replace_database(postgres.url, "migrated")).set(drivername="postgresql+psycopg"))
    migrate_to_head(engine)
    engine.dispose()
    return "migrated"


@pytest.fixture(scope="session")
def run_on_server(postgres: EmbeddedPostgres) -> Iterator[Callable[[str], object]]:
    """Runs a statement that is about whole databases; over one connection, since each new one takes milliseconds."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        yield connection.execute


@pytest.fixture
def database_url(
    postgres: EmbeddedPostgres, migrated_template: str, run_on_server: Callable[[str], object]
) -> Iterator[str]:
    """A database of the test's own, at the newest schema; `postgresql://…`."""
    name = f"test_{secrets.token_hex(4)}"
    # By copying files: it takes half of the time, and its two checkpoints are nothing to a server in memory.
    run_on_server(f"create database {name} template {migrated_template} strategy file_copy")
    yield replace_database(postgres.url, name)
    run_on_server(f"drop database {name} with (force)")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on the test's database."""
    engine = open_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    yield engine
    engine.dispose()


def replace_database(url: str, name: str) -> str:
    """The same server, another database."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A file with an API key in it."""
    path = tmp_path / "api-key"
    path.write_text("key-from-a-file\n", encoding="utf-8")
    return path


@pytest.fixture
def sql(database_url: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """One statement, committed at once, on a connection that is none of the product's; its rows, if it has any."""
    with psycopg.connect(database_url, autocommit=True) as connection:

        def run(statement: str, *values: object) -> list[tuple[Any, ...]]:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

        yield run
