"""Leads that may have killed their workers: are they claimed alone, whoever has their account's budget?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.store.budget import Budget
from worker.store.claims import Claim
from worker.store.db import read_clock, transaction
from worker.store.moments import Wanted, reserve_moments
from worker.store.settling import Release, release_permits
from worker.store.suspects import list_with_due_suspects

Sql = Callable[..., list[tuple[Any, ...]]]
Take = Callable[..., Claim | None]
MakeDue = Callable[..., None]


def names(claim: Claim | None) -> list[str]:
    assert claim is not None
    return sorted(lead.queue_id for lead in claim.leads)


@pytest.fixture
def suspect(make_due: MakeDue, sql: Sql) -> str:
    """Two hundred leads are due, and this one lost its lease twice."""
    make_due(200)
    sql("update resolver.watches set crashes = 2 where queue_id = 'lead-000001'")
    return "lead-000001"


def test_a_suspect_is_claimed_alone_and_never_among_others(
    claim: Take, claim_suspect: Take, make_due: MakeDue, sql: Sql
) -> None:
    make_due(5)
    sql("update resolver.watches set crashes = 2 where queue_id in ('lead-000001', 'lead-000002')")
    assert names(claim()) == ["lead-000003", "lead-000004", "lead-000005"]
    claimed = [names(claim_suspect()) for _ in range(2)]
    assert sorted(claimed) == [["lead-000001"], ["lead-000002"]]
    assert claim_suspect() is None


@pytest.mark.parametrize("rate", [20.0, 2.0, 1.0, 0.5])
def test_a_suspect_has_its_moment_though_others_have_all_that_is_near(
    claim: Take, claim_suspect: Take, suspect: str, rate: float
) -> None:
    assert claim(rate=rate, run=7) is not None
    claimed = claim_suspect(rate=rate)
    assert names(claimed) == [suspect]
    assert claimed is not None
    assert claimed.leads[0].send_after is not None


def release(engine: Engine, claim: Claim, *, left: int = 0, freed: int = 0) -> None:
    with transaction(engine) as connection:
        release_permits(connection, claim, Release(left, freed), read_clock(connection))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_where_a_run_has_all_permits_it_leaves_one_free_for_the_suspect_that_waits(
    engine: Engine, claim: Take, claim_suspect: Take, suspect: str, concurrency: int
) -> None:
    ours = claim(concurrency=concurrency, run=7, limit=10)
    assert ours is not None
    assert ours.permits == concurrency
    assert claim_suspect(concurrency=concurrency) is None
    assert claim(concurrency=concurrency, run=7, ours=concurrency) is None
    release(engine, ours)
    next_ = claim(concurrency=concurrency, run=8)
    assert (0 if next_ is None else next_.permits) == concurrency - 1
    assert names(claim_suspect(concurrency=concurrency)) == [suspect]


def test_the_permit_that_was_left_free_is_taken_again_once_no_suspect_waits(
    engine: Engine, claim: Take, claim_suspect: Take, suspect: str, sql: Sql
) -> None:
    ours = claim(concurrency=2, run=7, limit=2)
    assert ours is not None
    assert claim_suspect(concurrency=2) is None
    release(engine, ours)
    sql("update resolver.watches set crashes = 0 where queue_id = %s", suspect)
    with transaction(engine) as connection:
        assert list_with_due_suspects(connection, ["acme"], read_clock(connection)) == ["acme"]
    assert claim_suspect(concurrency=2) is None
    next_ = claim(concurrency=2, run=7)
    assert next_ is not None
    assert next_.permits == 2


@pytest.mark.parametrize("until", ["- interval '1 s'", "+ interval '1 day'"], ids=["over", "of a clock set back since"])
def test_no_permit_is_left_free_for_ever(claim: Take, make_due: MakeDue, sql: Sql, until: str) -> None:
    make_due(5)
    sql(f"update resolver.accounts set suspect_waits_until = clock_timestamp() {until}")
    ours = claim(concurrency=2, run=7)
    assert ours is not None
    assert ours.permits == 2


def test_permits_that_are_reserved_just_in_time_leave_one_free_too(
    engine: Engine, claim: Take, claim_suspect: Take, suspect: str
) -> None:
    ours = claim(concurrency=3, run=7, limit=3)
    assert ours is not None
    assert claim_suspect(concurrency=3) is None
    release(engine, ours, left=1, freed=2)
    with transaction(engine) as connection:
        wanted = Wanted(requests=0, lacking=2, claim=ours.id)
        assert reserve_moments(connection, "acme", Budget(1000.0, 3), read_clock(connection), wanted).permits == 1
    assert names(claim_suspect(concurrency=3)) == [suspect]


@pytest.mark.parametrize("kind", ["key", "throttled", "trouble"])
def test_a_suspect_probes_a_pause_whose_time_is_up(claim_suspect: Take, suspect: str, sql: Sql, kind: str) -> None:
    sql("update resolver.accounts set paused_until = clock_timestamp(), pause_kind = %s, pause_reason = 'x'", kind)
    claimed = claim_suspect()
    assert names(claimed) == [suspect]
    assert claimed is not None
    assert sql("select paused_until = %s from resolver.accounts", claimed.probe_until) == [(True,)]


def test_the_suspect_of_a_paused_account_is_left_alone(claim_suspect: Take, suspect: str, sql: Sql) -> None:
    sql(
        "update resolver.accounts set paused_until = clock_timestamp() + interval '1 hour', pause_kind = 'operator',"
        " pause_reason = 'x'"
    )
    assert claim_suspect() is None
    assert sql("select crashes, claim_id from resolver.watches where queue_id = %s", suspect) == [(2, None)]
    assert sql("select suspect_waits_until from resolver.accounts") == [(None,)]
