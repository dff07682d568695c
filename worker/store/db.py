"""Connections and transactions: made after the fork, bounded in time, errors translated in one place.

Every statement of the product runs inside `transaction`, which is where a frozen, full or vanished Postgres becomes one
clear `DatabaseUnavailable` and where no value of a row can slip into an error text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog
from psycopg import errors as pg
from sqlalchemy import Connection, Engine, create_engine, func, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from worker.errors import DatabaseUnavailable
from worker.watchdog import shut_down, watchdog

log = structlog.get_logger(__name__)

ORDINARY_BOUND = timedelta(seconds=30)
CONNECT_SECONDS = 5

# The connection or the server is at fault, not the statement: worth trying again later.
_UNAVAILABLE = (
    pg.OperationalError,  # includes connection loss, admin shutdown, disk full, deadlock, lock timeout
    pg.InterfaceError,
    pg.ReadOnlySqlTransaction,  # a failover in progress
    pg.QueryCanceled,
)


def open_engine(url: URL, *, application_name: str = "lead-resolver", pool_size: int = 5) -> Engine:
    """An engine for this process. Never call it before a fork: two processes on one connection mix up answers."""
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        pool_pre_ping=True,  # after a Postgres restart the first statement must not pay for the dead connection
        hide_parameters=True,  # parameters are queue IDs and replies: they belong in no error text
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": application_name,
            # The server gives up before the watchdog does, so that an ordinary overrun ends cleanly. A transaction
            # forgotten open holds back vacuum, which made claims four times slower within 200 batches.
            "options": "-c statement_timeout=25s -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s"
            " -c timezone=UTC",
        },
    )


@contextmanager
def transaction(engine: Engine, bound: timedelta = ORDINARY_BOUND) -> Iterator[Connection]:
    """One transaction of at most `bound`: commits at the end, rolls back on any error.

    Raises:
        DatabaseUnavailable: Postgres could not be reached, or did not finish in time. Whether a commit that was under
            way took effect is then unknown, so whatever is done here must be safe to do again.
    """
    try:
        with engine.connect() as connection:
            socket_number = connection.connection.driver_connection.fileno()  # type: ignore[union-attr]
            with watchdog.limit(bound.total_seconds(), lambda: shut_down(socket_number)), connection.begin():
                yield connection
    except PoolTimeoutError:
        raise DatabaseUnavailable("Postgres: all our connections are busy; try again in a moment") from None
    except DBAPIError as error:
        if not isinstance(error.orig, _UNAVAILABLE) and not isinstance(error, OperationalError):
            raise
        raise DatabaseUnavailable(f"Postgres is unavailable ({say_error(error)}); try again in a moment") from None


def read_clock(connection: Connection) -> datetime:
    """The database's clock, which all schedules and leases go by."""
    now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return now


def say_error(error: DBAPIError) -> str:
    """What went wrong, without any value of a row: class, SQLSTATE and the server's first line."""
    original = error.orig
    state = getattr(original, "sqlstate", None)
    if state is None:
        return _say_connection_error(str(original))
    message = getattr(getattr(original, "diag", None), "message_primary", None) or ""
    return f"{type(original).__name__}, SQLSTATE {state}: {message}" if message else f"SQLSTATE {state}"


def _say_connection_error(text: str) -> str:
    first = text.strip().splitlines()[0] if text.strip() else "connection lost"
    return first.split("\n")[0][:200]
