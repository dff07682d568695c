"""One run of polling at a time claims of an account, until it hands it over or its permits lapse."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.store.claims import Claim
from worker.store.db import read_clock, transaction
from worker.store.handing_over import hand_over, keep_distance

Sql = Callable[..., list[tuple[Any, ...]]]
Take = Callable[..., Claim | None]

OURS, ANOTHER = 1, 2


@pytest.fixture(autouse=True)
def _due_leads(make_due: Callable[..., None]) -> None:
    make_due(20)


@pytest.fixture
def give(engine: Engine) -> Callable[..., None]:
    """Hands these claims' account over."""

    def do(*claims: Claim) -> None:
        with transaction(engine) as connection:
            hand_over(connection, [claim.id for claim in claims])

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


def test_an_account_that_was_handed_over_is_the_next_runs(claim: Take, give: Callable[..., None]) -> None:
    ours = take(claim, OURS)
    give(ours)
    assert take(claim, ANOTHER, concurrency=6).permits == 2  # the others are in use until our answers have come
    assert claim(run=OURS) is None


def test_an_account_is_handed_over_by_the_last_claim_that_sends(claim: Take, give: Callable[..., None]) -> None:
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


@pytest.mark.parametrize(("ahead", "left"), [(-1, 2), (1, 2), (4, 4)])
def test_nothing_leaves_soon_after_a_request_that_left_late(engine: Engine, sql: Sql, ahead: int, left: int) -> None:
    with transaction(engine) as connection:
        now = read_clock(connection)
        sql("update resolver.accounts set next_slot_at = %s", now + timedelta(seconds=ahead))
        keep_distance(connection, "acme", now, timedelta(seconds=2))
    assert sql("select next_slot_at from resolver.accounts") == [(now + timedelta(seconds=left),)]
