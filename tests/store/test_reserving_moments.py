"""Moments to send at: one by one at the budget's rhythm, not far ahead, none under a pause; over all workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.errors import DatabaseContended
from worker.store.budget import MOMENTS_AHEAD, Budget
from worker.store.claims import Claim
from worker.store.db import read_clock, transaction
from worker.store.moments import Moments, Wanted, reserve_moments

Sql = Callable[..., list[tuple[Any, ...]]]


def take(
    engine: Engine,
    wanted: int,
    *,
    rate: float = 20.0,
    per_day: int | None = None,
    lacking: int = 0,
    claim: int = 0,
    held_up: int = 0,
) -> tuple[datetime, Moments]:
    for _ in range(1000):
        with suppress(DatabaseContended), transaction(engine) as connection:
            now, asked = read_clock(connection), Wanted(wanted, lacking, claim, held_up)
            return now, reserve_moments(connection, "acme", Budget(rate, 4, per_day), now, asked)
        time.sleep(0.01)
    raise AssertionError("somebody keeps the account locked")


def list_moments(engine: Engine, wanted: int, rate: float) -> list[datetime]:
    now, reserved = take(engine, wanted, rate=rate)
    return [now + reserved.first + n * reserved.gap for n in range(reserved.count)]


@pytest.fixture(autouse=True)
def _an_account(make_due: Callable[..., None]) -> None:
    make_due(1)


def test_moments_follow_one_another_at_the_budgets_rhythm(engine: Engine) -> None:
    moments = [moment for _ in range(3) for moment in list_moments(engine, 2, 20.0)]
    assert [(later - sooner).total_seconds() for sooner, later in pairwise(moments)] == pytest.approx([0.05] * 5)


def test_workers_at_the_same_time_share_no_moment(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: list_moments(engine, 5, 100.0), range(4)))
    moments = sorted(moment for some in found for moment in some)
    assert len(moments) == 20
    gaps = [(later - sooner).total_seconds() for sooner, later in pairwise(moments)]
    assert min(gaps) == pytest.approx(0.01, abs=1e-5)


def test_nothing_is_reserved_far_ahead(engine: Engine) -> None:
    _, first = take(engine, 100)
    assert first.count == 20 * MOMENTS_AHEAD.total_seconds() + 1
    assert first.first + (first.count - 1) * first.gap <= MOMENTS_AHEAD


def test_a_slow_budget_grants_one_moment_and_the_next_only_when_it_is_near(engine: Engine) -> None:
    assert [take(engine, 3, rate=0.1)[1].count for _ in range(2)] == [1, 0]


def test_time_that_passed_unused_gives_no_moments(engine: Engine, sql: Sql) -> None:
    sql("update resolver.accounts set next_slot_at = clock_timestamp() - interval '1 day'")
    _, reserved = take(engine, 100)
    assert reserved.first == timedelta(0)
    assert reserved.count == 7


@pytest.mark.parametrize("ends", ["1 hour", "-1 second"], ids=["paused", "waiting for its probe"])
def test_none_is_reserved_under_a_pause(engine: Engine, sql: Sql, ends: str) -> None:
    sql(
        "update resolver.accounts set paused_until = clock_timestamp() + cast(%s as interval), pause_kind = 'key'", ends
    )
    assert take(engine, 3)[1] == Moments(is_paused=True)
    ((kind,),) = sql("select pause_kind from resolver.accounts")
    assert kind == "key"


def test_the_days_budget_counts_what_is_sent_and_then_pauses_the_account(engine: Engine, sql: Sql) -> None:
    assert [take(engine, 3, rate=1000.0, per_day=5)[1].count for _ in range(2)] == [3, 2]
    assert take(engine, 3, per_day=5)[1].is_used_up
    assert take(engine, 3, per_day=5)[1].is_used_up
    assert sql("select requests_today, pause_kind from resolver.accounts") == [(5, "budget")]


@pytest.fixture
def our_claim(claim: Callable[..., Claim | None]) -> int:
    """One claim with a single permit, of an account that has four."""
    taken = claim(concurrency=4, limit=1)
    assert taken is not None
    assert taken.permits == 1
    return taken.id


def count_permits(sql: Sql) -> int:
    ((permits,),) = sql("select sum(permits)::int from resolver.claims")
    return int(permits)


@pytest.mark.parametrize(("lacking", "more"), [(0, 0), (2, 2), (9, 3)])
def test_permits_that_have_become_free_come_with_a_moment_each(
    engine: Engine, our_claim: int, sql: Sql, lacking: int, more: int
) -> None:
    _, reserved = take(engine, 1, lacking=lacking, claim=our_claim)
    assert (reserved.count, reserved.permits) == (1 + more, more)
    assert count_permits(sql) == 1 + more


def test_those_that_have_their_moments_get_permits_alone_and_first(engine: Engine, our_claim: int, sql: Sql) -> None:
    _, reserved = take(engine, 0, lacking=2, held_up=2, claim=our_claim)
    assert (reserved.count, reserved.permits) == (1, 3)
    assert count_permits(sql) == 4


def test_a_permit_without_a_moment_is_to_be_had_while_the_next_moment_is_far(
    engine: Engine, our_claim: int, sql: Sql
) -> None:
    take(engine, 1, rate=0.1)
    _, reserved = take(engine, 0, rate=0.1, lacking=1, held_up=1, claim=our_claim)
    assert (reserved.count, reserved.permits) == (0, 1)
    assert count_permits(sql) == 2


def test_no_permit_is_taken_that_the_budget_has_no_moment_for(engine: Engine, our_claim: int, sql: Sql) -> None:
    _, reserved = take(engine, 2, rate=4.0, lacking=3, claim=our_claim)
    assert reserved.permits == 0
    assert count_permits(sql) == 1


def test_a_claim_that_has_lapsed_gets_no_permits(engine: Engine, our_claim: int, sql: Sql) -> None:
    sql("update resolver.claims set lease_until = clock_timestamp()")
    _, reserved = take(engine, 1, lacking=3, claim=our_claim)
    assert (reserved.count, reserved.permits) == (1, 0)
    assert count_permits(sql) == 1
