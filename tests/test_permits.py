"""The keeper of permits: what it renews, and when nothing more may be sent under them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from worker import permits
from worker.clock import read_sleepless
from worker.errors import DatabaseUnavailable
from worker.leadbyte.pace import LATEST_SECONDS
from worker.permits import UNRENEWED_SECONDS, PermitKeeper

PATIENCE = 30.0


class Rows:
    """In place of Postgres: which claims it has still, and what it was asked to renew."""

    def __init__(self) -> None:
        self.alive: set[int] = set()
        self.is_away = False
        self.tries: list[set[int]] = []

    def renew(self, _: Connection, claims: Collection[int], _now: datetime, _lease: timedelta) -> set[int]:
        self.tries.append(set(claims))
        if self.is_away:
            raise DatabaseUnavailable("planted")
        return self.alive & set(claims)

    def wait_for_tries(self, count: int) -> None:
        until, count = time.monotonic() + PATIENCE, count + len(self.tries)
        while len(self.tries) < count:
            assert time.monotonic() < until
            time.sleep(0.005)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    rows = Rows()
    monkeypatch.setattr(permits, "renew_permits", rows.renew)
    monkeypatch.setattr(permits, "RENEW_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(permits, "AFTER_A_FAULT_SECONDS", 0.01)
    return rows


@pytest.fixture
def keeper(engine: Engine, rows: Rows) -> Iterator[PermitKeeper]:
    keeper = PermitKeeper(engine, 15.0)
    yield keeper
    keeper.close()
    before = len(rows.tries)
    time.sleep(0.05)
    assert len(rows.tries) == before


def age(keeper: PermitKeeper, seconds: float) -> None:
    """As if the permits had been given, or last renewed, so much earlier."""
    with keeper._lock:
        for claim in keeper._ours_at:
            keeper._ours_at[claim] -= seconds


def test_the_lease_outlasts_every_request_that_was_sent_under_it(keeper: PermitKeeper) -> None:
    assert keeper.lease > timedelta(seconds=UNRENEWED_SECONDS + 15) + timedelta(seconds=LATEST_SECONDS)


def test_permits_that_are_renewed_do_not_lapse(keeper: PermitKeeper, rows: Rows) -> None:
    rows.alive = {1, 2}
    keeper.hold(1, read_sleepless())
    keeper.hold(2, read_sleepless())
    age(keeper, 2 * UNRENEWED_SECONDS)
    rows.wait_for_tries(2)
    assert rows.tries[-1] == {1, 2}
    assert not keeper.have_lapsed([1, 2])


def test_permits_that_postgres_has_no_more_have_lapsed_at_once(keeper: PermitKeeper, rows: Rows) -> None:
    rows.alive = {1}
    keeper.hold(1, read_sleepless())
    keeper.hold(2, read_sleepless())
    rows.wait_for_tries(2)
    assert keeper.have_lapsed([1, 2])
    assert not keeper.have_lapsed([1])


def test_a_fault_takes_no_permits_away_until_it_has_lasted(keeper: PermitKeeper, rows: Rows) -> None:
    rows.is_away = True
    keeper.hold(1, read_sleepless())
    rows.wait_for_tries(2)
    assert not keeper.have_lapsed([1])
    age(keeper, UNRENEWED_SECONDS)
    assert keeper.have_lapsed([1])
    rows.is_away, rows.alive = False, {1}
    rows.wait_for_tries(2)
    assert not keeper.have_lapsed([1])


def test_permits_that_were_renewed_bear_a_fault_as_long_as_new_ones(keeper: PermitKeeper, rows: Rows) -> None:
    rows.alive = {1}
    keeper.hold(1, read_sleepless() - 2 * UNRENEWED_SECONDS)
    rows.wait_for_tries(2)
    rows.is_away = True
    rows.wait_for_tries(2)
    assert not keeper.have_lapsed([1])


def test_permits_that_were_given_back_are_not_renewed(keeper: PermitKeeper, rows: Rows) -> None:
    keeper.hold(1, read_sleepless())
    keeper.hold(2, read_sleepless())
    rows.alive = {1, 2}
    keeper.drop(1)
    rows.wait_for_tries(2)
    assert rows.tries[-1] == {2}
    assert keeper.have_lapsed([1])
    keeper.drop(2)
    keeper.drop(2)
    time.sleep(0.05)  # nothing to do, and nothing is done
    assert not keeper.have_lapsed([])


def test_no_permits_are_looked_after_before_there_are_any(engine: Engine, rows: Rows) -> None:
    keeper = PermitKeeper(engine, 15.0)
    time.sleep(0.05)
    keeper.close()
    assert rows.tries == []


def test_permits_are_renewed_while_somebody_holds_the_account(
    engine: Engine, sql: Callable[..., list[tuple[Any, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permits, "RENEW_EVERY_SECONDS", 0.01)
    sql("select track_lead('acme', 'lead-000001')")
    ((claim,),) = sql(
        "insert into resolver.claims (account_id, permits, lease_until)"
        " select id, 2, clock_timestamp() + interval '5 s' from resolver.accounts returning id"
    )
    keeper = PermitKeeper(engine, 15.0)
    with engine.begin() as frozen:
        frozen.exec_driver_sql("select from resolver.accounts for update")
        keeper.hold(claim, read_sleepless())
        until = time.monotonic() + PATIENCE
        while sql("select lease_until < clock_timestamp() + interval '20 s' from resolver.claims") == [(True,)]:
            assert time.monotonic() < until
            time.sleep(0.01)
    keeper.close()
