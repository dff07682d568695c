"""Permits have a short lease of their own: a worker that lives renews it, one that is dead loses them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.store.claims import Claim
from worker.store.db import read_clock, transaction
from worker.store.permits import renew_permits

Sql = Callable[..., list[tuple[Any, ...]]]
Take = Callable[..., Claim | None]
LEASE = timedelta(seconds=20)


@pytest.fixture
def claimed(make_due: Callable[..., None], claim: Take) -> Claim:
    make_due(4)
    made = claim(limit=2, concurrency=2, permit_lease=LEASE)
    assert made is not None
    return made


def renew(engine: Engine, *claims: int) -> set[int]:
    with transaction(engine) as connection:
        return renew_permits(connection, claims, read_clock(connection), LEASE)


def read_lease(sql: Sql, table: str) -> timedelta:
    ((left,),) = sql(f"select max(lease_until) - clock_timestamp() from resolver.{table}")
    assert isinstance(left, timedelta)
    return left


@pytest.mark.usefixtures("claimed")
def test_permits_are_lent_for_a_shorter_time_than_leads(sql: Sql) -> None:
    assert read_lease(sql, "claims") <= LEASE < read_lease(sql, "watches")


def test_permits_of_a_dead_worker_come_back_long_before_its_leads(claimed: Claim, claim: Take, sql: Sql) -> None:
    assert claim(concurrency=2) is None
    sql("update resolver.claims set lease_until = lease_until - cast(%s as interval)", LEASE)
    next_one = claim(concurrency=2)
    assert next_one is not None
    assert next_one.permits == 2
    assert not {lead.lead_id for lead in next_one.leads} & {lead.lead_id for lead in claimed.leads}


def test_renewed_permits_last_as_long_as_new_ones(engine: Engine, claimed: Claim, sql: Sql) -> None:
    sql("update resolver.claims set lease_until = clock_timestamp() + interval '3 s'")
    assert renew(engine, claimed.id) == {claimed.id}
    assert read_lease(sql, "claims") > LEASE - timedelta(seconds=2)


@pytest.mark.parametrize("left", ["-1 s", "0 s", "0.9 s"])
def test_permits_that_others_may_have_counted_on_are_not_renewed(
    engine: Engine, claimed: Claim, sql: Sql, left: str
) -> None:
    sql("update resolver.claims set lease_until = clock_timestamp() + cast(%s as interval)", left)
    assert renew(engine, claimed.id) == set()
    assert read_lease(sql, "claims") < timedelta(seconds=1)


@pytest.mark.usefixtures("claimed")
def test_permits_of_others_are_left_alone(engine: Engine, sql: Sql) -> None:
    before = sql("select id, lease_until from resolver.claims")
    assert renew(engine, 0) == set()
    assert sql("select id, lease_until from resolver.claims") == before
