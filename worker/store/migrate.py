"""Brings the database to the newest schema, and says how far it is.

Safe to run twice, by two at once, and under load: `migrations/env.py` takes an advisory lock and bounds every lock.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from worker.errors import DatabaseUnavailable
from worker.store.db import say_error, transaction
from worker.store.tables import SCHEMA

PATIENCE = "10min"  # how long one deployment waits for another's migrations
_PACKAGE = Path(__file__).resolve().parent.parent


def find_migrations() -> Path:
    """The folder of migrations: inside an installed wheel, or beside `worker/` in a checkout."""
    installed = _PACKAGE / "_migrations"
    return installed if installed.is_dir() else _PACKAGE.parent / "migrations"


def migrate_to_head(engine: Engine) -> str:
    """Apply what is missing; returns the revision reached. DatabaseUnavailable if Postgres fails on the way."""
    config = _configure(engine)
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        raise DatabaseUnavailable(f"the migration stopped ({say_error(error)}); nothing of it was kept") from None
    return read_head()


def read_head() -> str:
    """The newest revision this code knows."""
    head = ScriptDirectory(str(find_migrations())).get_current_head()
    assert head is not None
    return head


def read_current(engine: Engine) -> str | None:
    """The revision the database is at; None before the first migration."""
    with transaction(engine) as connection:
        context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
        return context.get_current_revision()


def _configure(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(find_migrations()).replace("%", "%%"))
    config.attributes["engine"] = engine
    return config
