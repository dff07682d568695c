"""One run of polling at a time claims of an account, until it hands it over or its permits lapse."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.store.budget import Budget
from worker.store.claims import Claim
from worker.store.db import read_clock, transaction
from worker.store.handing_over import hand_over

Sql = Callable[..., list[tuple[Any, ...]]]
Take = Callable[..., Claim | None]

OURS, ANOTHER = 1, 2
RATE = 2.0


@pytest.fixture(autouse=True)
def _due_leads(make_due: Callable[..., None]) -> None:
    make_due(20)


@pytest.fixture
def give(engine: Engine) -> Callable[..., datetime]:
    """Hands these claims' account over; returns when, by the database's clock."""

    def do(*claims: Claim) -> datetime:
        with transaction(engine) as connection:
            now = read_clock(connection)
            hand_over(connection, "acme", Budget(RATE, 50), [claim.id for claim in claims], now)
        return now

    return do


def take(claim: Take, run: int | None, **options: Any) -> Claim:
    taken = claim(run=run, limit=4, **options)
    assert taken is not None
    return taken


def test_no_other_run_claims_of_an_account_meanwhile(claim: Take) -> None:
    take(claim, OURS)
    assert claim(run=ANOTHER) is None
    take(claim, OURS)


def test_a_claim_of_no_run_neither_waits_nor_keeps_anybody_waiting(claim: Take) -> None:
    take(claim, OURS)
    take(claim, None)
    take(claim, OURS)


def test_other_accounts_are_anybodys(claim: Take, make_due: Callable[..., None]) -> None:
    make_due(4, account="other", prefix="other")
    take(claim, OURS)
    take(claim, ANOTHER, account="other")


def test_an_account_that_was_handed_over_is_the_next_runs(claim: Take, give: Callable[..., datetime]) -> None:
    ours = take(claim, OURS)
    give(ours)
    assert take(claim, ANOTHER, concurrency=6).permits == 2  # the others are in use until our answers have come
    assert claim(run=OURS) is None


def test_an_account_is_handed_over_by_the_last_claim_that_sends(claim: Take, give: Callable[..., datetime]) -> None:
    first, second = take(claim, OURS), take(claim, OURS)
    give(first)
    assert claim(run=ANOTHER) is None
    give(second)
    take(claim, ANOTHER)


def test_a_run_that_died_keeps_nobody_waiting_longer_than_its_permits_last(claim: Take, sql: Sql) -> None:
    take(claim, OURS)
    assert claim(run=ANOTHER) is None
    sql("update resolver.claims set lease_until = clock_timestamp()")
    take(claim, ANOTHER)


def test_the_next_run_keeps_its_distance_from_requests_that_left_late(
    claim: Take, give: Callable[..., datetime], sql: Sql
) -> None:
    ours = take(claim, OURS)
    sql("update resolver.accounts set next_slot_at = clock_timestamp() - interval '1 s'")
    handed_over_at = give(ours)
    (next_slot_at,) = sql("select next_slot_at from resolver.accounts")[0]
    assert next_slot_at - handed_over_at == timedelta(seconds=1 / RATE)


def test_handing_over_gives_no_moment_up_that_was_reserved(
    claim: Take, give: Callable[..., datetime], sql: Sql
) -> None:
    ours = take(claim, OURS)
    ahead = sql("update resolver.accounts set next_slot_at = clock_timestamp() + interval '4 s' returning next_slot_at")
    give(ours)
    assert sql("select next_slot_at from resolver.accounts") == ahead
