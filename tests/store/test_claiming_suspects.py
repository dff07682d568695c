"""Leads that may have killed their workers: are they claimed alone, whoever has their account's budget?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.store.claims import Claim
from worker.store.db import read_clock, transaction
from worker.store.settling import Release, release_permits
from worker.store.slots import leave_queue

Sql = Callable[..., list[tuple[Any, ...]]]
Take = Callable[..., Claim | None]
TakeSuspect = Callable[..., tuple[int | None, Claim | None]]
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
    claim: Take, claim_suspect: TakeSuspect, make_due: MakeDue, sql: Sql
) -> None:
    make_due(5)
    sql("update resolver.watches set crashes = 2 where queue_id in ('lead-000001', 'lead-000002')")
    assert names(claim()) == ["lead-000003", "lead-000004", "lead-000005"]
    claimed = [names(claim_suspect()[1]) for _ in range(2)]
    assert sorted(claimed) == [["lead-000001"], ["lead-000002"]]
    assert claim_suspect() == (None, None)


@pytest.mark.parametrize("rate", [20.0, 2.0, 1.0, 0.5])
def test_a_suspect_has_its_moment_though_others_have_all_that_is_near(
    claim: Take, claim_suspect: TakeSuspect, suspect: str, rate: float
) -> None:
    assert claim(rate=rate, run=7) is not None
    _, claimed = claim_suspect(rate=rate)
    assert names(claimed) == [suspect]
    assert claimed is not None
    assert claimed.leads[0].send_after is not None


def test_a_suspect_queues_up_where_a_run_has_all_permits_and_comes_before_its_next_claim(
    engine: Engine, claim: Take, claim_suspect: TakeSuspect, suspect: str
) -> None:
    ours = claim(concurrency=2, run=7, limit=10)
    assert ours is not None
    assert ours.permits == 2
    ticket, claimed = claim_suspect(concurrency=2)
    assert ticket is not None
    assert claimed is None
    assert claim(concurrency=2, run=7, ours=2) is None  # somebody waits
    with transaction(engine) as connection:
        release_permits(connection, ours, Release(), read_clock(connection))
    _, claimed = claim_suspect(ticket, concurrency=2)
    assert names(claimed) == [suspect]
    assert claimed is not None
    assert claimed.id == ticket


def test_who_leaves_the_queue_leaves_no_permit_behind(
    engine: Engine, claim: Take, claim_suspect: TakeSuspect, suspect: str, sql: Sql
) -> None:
    claim(concurrency=1, run=7, limit=1)
    ticket, _ = claim_suspect(concurrency=1)
    assert ticket is not None
    with transaction(engine) as connection:
        leave_queue(connection, ticket)
    assert sql("select count(*) from resolver.claims") == [(1,)]
    assert sql("select claim_id from resolver.watches where queue_id = %s", suspect) == [(None,)]


@pytest.mark.parametrize("kind", ["key", "throttled", "trouble"])
def test_a_suspect_probes_a_pause_whose_time_is_up(
    claim_suspect: TakeSuspect, suspect: str, sql: Sql, kind: str
) -> None:
    sql("update resolver.accounts set paused_until = clock_timestamp(), pause_kind = %s, pause_reason = 'x'", kind)
    _, claimed = claim_suspect()
    assert names(claimed) == [suspect]
    assert claimed is not None
    assert sql("select paused_until = %s from resolver.accounts", claimed.probe_until) == [(True,)]


def test_a_paused_account_has_no_suspect_to_wait_for(claim_suspect: TakeSuspect, suspect: str, sql: Sql) -> None:
    sql(
        "update resolver.accounts set paused_until = clock_timestamp() + interval '1 hour', pause_kind = 'operator',"
        " pause_reason = 'x'"
    )
    assert claim_suspect() == (None, None)
    assert sql("select crashes from resolver.watches where queue_id = %s", suspect) == [(2,)]
