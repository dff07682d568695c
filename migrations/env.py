"""How Alembic reaches the database: one transaction a migration, under an advisory lock, with bounded locks."""

from __future__ import annotations

from alembic import context
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from worker.errors import DatabaseUnavailable
from worker.settings import load_settings
from worker.store import action_tables, migrate
from worker.store.db import open_engine
from worker.store.tables import SCHEMA

# Any constant will do, as long as it is ours: it keeps two deploys from migrating at the same time.
ADVISORY_LOCK = 0x1EAD_4E50


def _find_engine() -> Engine:
    # `lead-resolver migrate` hands its engine over; the `alembic` command itself goes by DATABASE_URL.
    engine = context.config.attributes.get("engine")
    return engine if isinstance(engine, Engine) else open_engine(load_settings().required_database_url())


def _include_name(name: str | None, kind: str, _parents: object) -> bool:
    return name == SCHEMA if kind == "schema" else True


def _prepare(connection: Connection) -> None:
    connection.execute(text("set statement_timeout = '15min'"))
    connection.execute(text("set idle_in_transaction_session_timeout = '1min'"))
    _wait_for_our_turn(connection)
    # A migration that cannot get its lock within 4 s gives up, rather than queueing all of production behind it.
    connection.execute(text("set lock_timeout = '4s'"))
    connection.execute(text(f"create schema if not exists {SCHEMA}"))
    connection.commit()


def _wait_for_our_turn(connection: Connection) -> None:
    connection.execute(text(f"set lock_timeout = '{migrate.PATIENCE}'"))
    try:
        connection.execute(text("select pg_advisory_lock(:lock)"), {"lock": ADVISORY_LOCK})
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        said = f"another migration of this database has been running for {migrate.PATIENCE}; try again when it is done"
        raise DatabaseUnavailable(said) from None


def run_migrations() -> None:
    """Bring the database to where Alembic was asked to."""
    with _find_engine().connect() as connection:
        _prepare(connection)
        context.configure(
            connection=connection,
            target_metadata=action_tables.metadata,
            version_table_schema=SCHEMA,
            include_schemas=True,
            include_name=_include_name,
            transaction_per_migration=True,
            compare_server_default=True,
        )
        try:
            with context.begin_transaction():
                context.run_migrations()
        finally:
            connection.rollback()
            connection.invalidate()  # ends the session, and with it the advisory lock and our timeouts


run_migrations()
