"""When moments are asked for: as soon as one more is near enough, and not again for each of them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from worker import reserving
from worker.accounts import Account
from worker.errors import DatabaseUnavailable
from worker.reserving import AFTER_A_FAULT_SECONDS, CONTENDED_AGAIN_SECONDS, RESERVE_AGAIN_SECONDS, Reserver
from worker.store.budget import MOMENTS_AHEAD
from worker.store.moments import Moments, Wanted

Sql = Callable[..., list[tuple[Any, ...]]]
ACCOUNT = Account("acme", "http://127.0.0.1:1", "query", 20.0, 4)
BEGIN, A_LITTLE = 100.0, 0.001


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [BEGIN]
    monkeypatch.setattr(reserving, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def reserver(engine: Engine, lead_of: Callable[[str], int]) -> Reserver:
    lead_of("lead-000001")  # and with it the account
    return Reserver(engine)


def is_asked_again_after(reserver: Reserver, now: list[float], seconds: float) -> bool:
    """Whether it is then, and not before."""
    now[0] = BEGIN + seconds - A_LITTLE
    is_too_soon = reserver.may_reserve(ACCOUNT)
    now[0] = BEGIN + seconds + A_LITTLE
    return not is_too_soon and reserver.may_reserve(ACCOUNT)


def test_more_are_asked_for_when_the_next_is_near_enough(reserver: Reserver, now: list[float]) -> None:
    moments, reserved = reserver.reserve(ACCOUNT, Wanted(100, 0, 0))
    gap, ahead = reserved.gap.total_seconds(), MOMENTS_AHEAD.total_seconds()
    assert moments == [pytest.approx(BEGIN + n * gap) for n in range(len(moments))]
    assert moments[-1] <= BEGIN + ahead < moments[-1] + gap
    assert is_asked_again_after(reserver, now, max(RESERVE_AGAIN_SECONDS, len(moments) * gap - ahead))


def test_a_few_are_not_asked_for_one_by_one(reserver: Reserver, now: list[float]) -> None:
    assert len(reserver.reserve(ACCOUNT, Wanted(1, 0, 0))[0]) == 1
    assert is_asked_again_after(reserver, now, RESERVE_AGAIN_SECONDS)


def test_a_locked_account_is_asked_of_again_soon(reserver: Reserver, now: list[float], database_url: str) -> None:
    with psycopg.connect(database_url) as somebody:
        somebody.execute("select from resolver.accounts for update")
        assert reserver.reserve(ACCOUNT, Wanted(1, 0, 0)) == ([], Moments())
        somebody.rollback()
    assert is_asked_again_after(reserver, now, CONTENDED_AGAIN_SECONDS)


def test_a_postgres_that_is_away_is_left_alone_for_a_while(
    reserver: Reserver, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Moments:
        raise DatabaseUnavailable("planted")

    monkeypatch.setattr(reserving, "reserve_moments", fail)
    assert reserver.reserve(ACCOUNT, Wanted(1, 0, 0)) == ([], Moments())
    assert is_asked_again_after(reserver, now, AFTER_A_FAULT_SECONDS)
