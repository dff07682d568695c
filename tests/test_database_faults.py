"""Postgres frozen, gone, refusing or ambiguous: one clear error within a bound, and the next transaction works."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL, make_url

from tests.tcp_proxy import Mode, TcpProxy, running_proxy
from worker.errors import DatabaseUnavailable, LeadResolverError
from worker.intake import Submission, Tracked, track
from worker.store import db
from worker.store.db import open_engine, transaction

Sql = Callable[..., list[tuple[Any, ...]]]

_PLANTED = "PLANTED-fault-31"  # no other test's: the server logs it, and is shared
_GENEROUS_SECONDS = 20.0  # less than any bound that holds by itself


def to_sqlalchemy(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+psycopg")


@pytest.fixture
def proxy(database_url: str) -> Iterator[TcpProxy]:
    url = make_url(database_url)
    assert url.host is not None
    assert url.port is not None
    with running_proxy(url.host, url.port) as proxy:
        yield proxy


@pytest.fixture
def through(proxy: TcpProxy, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that reaches its Postgres through the proxy, and waits for connections less long than in earnest."""
    monkeypatch.setattr(db, "CONNECT_SECONDS", 3)
    engine = open_engine(to_sqlalchemy(database_url).set(port=proxy.port), pool_size=2)
    yield engine
    engine.dispose()


def count_up(engine: Engine, bound: timedelta = db.ORDINARY_BOUND) -> int:
    with transaction(engine, bound) as connection:
        return int(connection.execute(text("select 1 + 1")).scalar_one())


def select_twice(engine: Engine, bound: timedelta, between: Callable[[], object]) -> None:
    """A transaction of two statements, with something happening between them."""
    with transaction(engine, bound) as connection:
        connection.execute(text("select 1"))
        between()
        connection.execute(text("select 1"))


def fail_in_time(engine: Engine, bound: timedelta = db.ORDINARY_BOUND) -> str:
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as raised:
        count_up(engine, bound)
    assert time.monotonic() - began < _GENEROUS_SECONDS
    return str(raised.value)


def test_a_slow_network_is_no_error(proxy: TcpProxy, through: Engine) -> None:
    proxy.mode = "delay"
    assert count_up(through) == 2


def test_a_postgres_frozen_before_the_first_connection_is_unavailable(proxy: TcpProxy, through: Engine) -> None:
    proxy.mode = "half_open"
    assert "cannot be reached" in fail_in_time(through)


def test_a_postgres_frozen_under_an_idle_connection_is_unavailable(proxy: TcpProxy, through: Engine) -> None:
    assert count_up(through) == 2
    proxy.mode = "half_open"
    fail_in_time(through)
    proxy.mode = "pass"
    assert count_up(through) == 2


@pytest.mark.parametrize("mode", ["half_open", "reset"])
def test_a_postgres_lost_in_mid_transaction_is_unavailable_within_the_bound(
    proxy: TcpProxy, through: Engine, mode: Mode
) -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="unavailable"):
        select_twice(through, timedelta(seconds=0.3), lambda: setattr(proxy, "mode", mode))
    assert time.monotonic() - began < _GENEROUS_SECONDS
    proxy.mode = "pass"
    assert count_up(through) == 2


def test_a_postgres_frozen_at_the_commit_is_unavailable_within_the_bound(proxy: TcpProxy, through: Engine) -> None:
    count_up(through)
    proxy.freezes_at_commit = True
    fail_in_time(through, timedelta(seconds=0.3))
    proxy.freezes_at_commit, proxy.mode = False, "pass"
    assert count_up(through) == 2


def test_a_statement_that_takes_too_long_is_ended_at_the_bound(engine: Engine) -> None:
    with pytest.raises(DatabaseUnavailable), transaction(engine, timedelta(seconds=0.3)) as connection:
        connection.execute(text("select pg_sleep(20)"))
    assert count_up(engine) == 2


def test_a_statement_that_the_server_ended_in_time_is_told_from_a_server_that_is_away(engine: Engine) -> None:
    told = pytest.raises(DatabaseUnavailable, match=r"did not finish a statement in time .* ask for less")
    with told, transaction(engine) as connection:
        connection.execute(text("set local statement_timeout = '50ms'"))
        connection.execute(text("select pg_sleep(20)"))
    assert count_up(engine) == 2


def test_a_lead_whose_recording_was_not_confirmed_is_recorded_once(
    proxy: TcpProxy, through: Engine, engine: Engine, sql: Sql
) -> None:
    submissions = [Submission("ac1e0206-00000000-62ce91e7-0001-00000000")]
    count_up(through)
    proxy.cuts_commits = True
    with pytest.raises(DatabaseUnavailable):
        list(track(through, "acme", submissions))
    assert list(track(engine, "acme", submissions)) == [Tracked(new=0, known=1)]
    assert sql("select count(*) from resolver.leads") == [(1,)]
    assert sql("select count(*) from resolver.lead_events") == [(1,)]


def test_a_lead_that_was_not_recorded_is_new_the_next_time(proxy: TcpProxy, through: Engine, sql: Sql) -> None:
    submissions = [Submission("ac1e0206-00000000-62ce91e7-0001-00000000")]
    count_up(through)
    proxy.mode = "reset"
    with pytest.raises(DatabaseUnavailable):
        list(track(through, "acme", submissions))
    assert sql("select count(*) from resolver.leads") == [(0,)]
    proxy.mode = "pass"
    assert list(track(through, "acme", submissions)) == [Tracked(new=1, known=0)]


def test_a_killed_backend_costs_one_transaction_and_not_the_next(engine: Engine, sql: Sql) -> None:
    killing = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'lead-resolver'"
    killing += " and datname = current_database()"
    with pytest.raises(DatabaseUnavailable):
        select_twice(engine, db.ORDINARY_BOUND, lambda: sql(killing))
    assert count_up(engine) == 2
    assert sql(killing) == [(1,)]
    assert count_up(engine) == 2  # an idle connection that died costs nothing at all


def test_when_all_our_connections_are_busy_that_is_said(through: Engine) -> None:
    with transaction(through), transaction(through):
        assert "all our connections are busy" in fail_in_time(through)
    assert count_up(through) == 2


def test_when_postgres_has_no_connection_left_that_is_said(database_url: str, sql: Sql) -> None:
    role = f"few_{make_url(database_url).database}"
    sql(f"create role {role} login password 'few' connection limit 0")
    engine = open_engine(to_sqlalchemy(database_url).set(username=role, password="few"))
    assert "too many connections" in fail_in_time(engine)
    sql(f"drop role {role}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_wrong_password_is_said_and_not_shown(database_url: str, host: str) -> None:
    engine = open_engine(to_sqlalchemy(database_url).set(host=host, password=_PLANTED))
    said = fail_in_time(engine)
    assert "DATABASE_URL" in said
    assert "failed" in said
    assert _PLANTED not in said
    if host == "127.0.0.1":
        assert "password authentication failed" in said


def test_a_server_that_is_not_there_is_said() -> None:
    engine = open_engine(to_sqlalchemy("postgresql://nobody@127.0.0.1:1/nothing"))
    assert "refused" in fail_in_time(engine)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "insert into resolver.leads (account_id, queue_id) select id, :planted || '!' from resolver.accounts",
            "ck_leads_queue_id_is_short_and_plain",
        ),
        ("insert into resolver.accounts (name) select :planted from generate_series(1, 2)", "uq_accounts_name"),
        ("select cast(:planted as integer)", "22P02"),
        ("select cast(:planted as jsonb)", "22P02"),
        ("select cast(:planted as timestamptz)", "22007"),
        ("select * from resolver.track_leads('a', array[:planted || ' '], array[null], '0', '0')", "23514"),
        ("select * from resolver.not_there where :planted = ''", "lead-resolver migrate"),
    ],
)
def test_a_refused_statement_is_named_without_the_values_of_its_row(
    engine: Engine, sql: Sql, statement: str, told: str
) -> None:
    sql("insert into resolver.accounts (name) values ('acme')")
    with pytest.raises(LeadResolverError) as raised, transaction(engine) as connection:
        connection.execute(text(statement), {"planted": _PLANTED})
    said = "".join(traceback.format_exception(raised.value))
    assert told in said
    assert _PLANTED not in said
    assert not isinstance(raised.value, DatabaseUnavailable)
    assert count_up(engine) == 2
