"""Connections and transactions: made after the fork, bounded in time, errors translated in one place.

Every statement of the product runs inside `transaction`, which is where a frozen, full or vanished Postgres becomes one
clear `DatabaseUnavailable` and where values of rows are kept out of error texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

from psycopg import errors as pg
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from worker.errors import DatabaseUnavailable, LeadResolverError
from worker.watchdog import shut_down, watchdog

ORDINARY_BOUND = timedelta(seconds=30)
CONNECT_SECONDS = 5

# The connection or the server is at fault, not the statement: worth trying again later.
_UNAVAILABLE = (
    pg.OperationalError,  # includes connection loss, admin shutdown, disk full, deadlock, lock timeout
    pg.InterfaceError,
    pg.ReadOnlySqlTransaction,  # a failover in progress
)
_UNMIGRATED = (pg.UndefinedTable, pg.UndefinedColumn, pg.UndefinedFunction, pg.InvalidSchemaName)
_CLOCK = text("select clock_timestamp()")
# SQLSTATE classes whose messages quote what was to be stored: bad data, violated constraints, `raise` in a function.
_QUOTING = ("22", "23", "P0")


def open_engine(url: URL, *, application_name: str = "lead-resolver", pool_size: int = 5) -> Engine:
    """An engine for this process. Never call it before a fork: two processes on one connection mix up answers."""
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        use_native_hstore=False,  # nothing of ours is one, and asking for its type on connecting has no bound
        pool_pre_ping=True,  # after a Postgres restart the first statement must not pay for the dead connection
        hide_parameters=True,  # parameters are queue IDs and replies: they belong in no error text
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": application_name,
            # The server gives up before the watchdog does, so that an ordinary overrun ends cleanly. A transaction
            # forgotten open holds back vacuum, which made claims four times slower within 200 batches. And each plan is
            # made anew: one made for any arrays takes them for ten rows, and compares five hundred with five hundred.
            "options": "-c statement_timeout=25s -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s"
            " -c timezone=UTC -c plan_cache_mode=force_custom_plan",
        },
    )
    ping = engine.dialect.do_ping

    def ping_in_time(connection: DBAPIConnection) -> bool:
        # The ping comes before any transaction's bound, and a frozen server never answers it.
        descriptor: int = connection.fileno()
        with watchdog.limit(CONNECT_SECONDS, partial(shut_down, descriptor)):
            return ping(connection)

    # Of this one dialect object; with setattr, since a method is not assigned to in the ordinary way.
    setattr(engine.dialect, "do_ping", ping_in_time)  # noqa: B010
    return engine


@contextmanager
def transaction(engine: Engine, bound: timedelta = ORDINARY_BOUND, *, keep: bool = True) -> Iterator[Connection]:
    """One transaction of at most `bound`: commits at the end (unless `keep` is false), rolls back on any error.

    Raises:
        DatabaseUnavailable: Postgres could not be reached, or did not finish in time. Whether a commit that was under
            way took effect is then unknown, so whatever is done here must be safe to do again.
        LeadResolverError: it refused a statement, which no trying again will mend.
    """
    with _connect(engine) as connection:
        descriptor = connection.connection.driver_connection.fileno()  # type: ignore[union-attr]  # it was just made
        try:
            with watchdog.limit(bound.total_seconds(), partial(shut_down, descriptor)), connection.begin() as begun:
                yield connection
                if not keep:
                    begun.rollback()
        except DBAPIError as error:
            raise _find_interrupt(error) or _translate(error) from None


def _connect(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except PoolTimeoutError:
        raise DatabaseUnavailable("Postgres: all our connections are busy; try again in a moment") from None
    except DBAPIError as error:
        said = f"Postgres cannot be reached ({say_error(error)}); check DATABASE_URL, and that the server runs"
        raise _find_interrupt(error) or DatabaseUnavailable(said) from None


def _find_interrupt(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C behind an error: libpq, cut off in mid-statement, objects to the clean-up that follows."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error


def _translate(error: DBAPIError) -> LeadResolverError:
    if isinstance(error.orig, pg.QueryCanceled):
        said = f"Postgres did not finish a statement in time ({say_error(error)}); ask for less, or at a quieter time"
        return DatabaseUnavailable(said)
    if isinstance(error.orig, _UNAVAILABLE) or isinstance(error, OperationalError):
        return DatabaseUnavailable(f"Postgres is unavailable ({say_error(error)}); try again in a moment")
    if isinstance(error.orig, _UNMIGRATED):
        return LeadResolverError(f"the database has another schema ({say_error(error)}); run `lead-resolver migrate`")
    return LeadResolverError(f"Postgres refused a statement ({say_error(error)}); nothing of it was kept")


def read_clock(connection: Connection) -> datetime:
    """The database's clock, which all schedules and leases go by."""
    now: datetime = connection.execute(_CLOCK).scalar_one()
    return now


def say_error(error: DBAPIError) -> str:
    """What went wrong, without any value of a row: class, SQLSTATE and the server's words, or the constraint's name."""
    original = error.orig
    state = getattr(original, "sqlstate", None)
    if state is None:
        return _say_connection_error(str(original)) if isinstance(error, OperationalError) else type(original).__name__
    diagnosis = getattr(original, "diag", None)
    message = getattr(diagnosis, "constraint_name" if state.startswith(_QUOTING) else "message_primary", None)
    said = f"{type(original).__name__}, SQLSTATE {state}"
    return f"{said}: {message}" if message else said


def _say_connection_error(text: str) -> str:
    lines = [line.strip("- \t") for line in text.splitlines() if line.strip() and not line.startswith("\t")]
    # Of a host with several addresses the first line only says that there were several.
    told = [line for line in lines if not line.startswith("Multiple connection attempts")]
    return told[-1 if len(told) < len(lines) else 0][:300] if told else "connection lost"
