"""One look at all accounts says which of them something can be claimed of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.store.claimable import list_with_due_leads
from worker.store.claims import Claim
from worker.store.db import read_clock, transaction

Sql = Callable[..., list[tuple[Any, ...]]]
Take = Callable[..., Claim | None]
Look = Callable[..., dict[str, bool]]

OURS, ANOTHER = 1, 2


@pytest.fixture
def look(engine: Engine) -> Look:
    """What our run finds."""

    def do(*names: str) -> dict[str, bool]:
        with transaction(engine) as connection:
            return list_with_due_leads(connection, names or ("acme",), read_clock(connection), OURS)

    return do


@pytest.fixture(autouse=True)
def _due_leads(make_due: Callable[..., None]) -> None:
    make_due(20)


def test_an_account_with_due_leads_is_found_if_it_was_asked_for(look: Look, make_due: Callable[..., None]) -> None:
    make_due(1, account="other", prefix="other")
    assert look("acme", "stranger") == {"acme": False}
    assert look("acme", "other") == {"acme": False, "other": False}


@pytest.mark.parametrize(
    "change",
    [
        "watches set next_poll_at = clock_timestamp() + interval '1 h'",
        "watches set claim_id = 9, lease_until = clock_timestamp() + interval '1 min'",
        "accounts set paused_until = clock_timestamp() + interval '1 h', pause_kind = 'operator'",
        "accounts set next_slot_at = clock_timestamp() + interval '8 s'",
    ],
    ids=["not due", "leased", "paused", "its next moment is further ahead than a claim reaches"],
)
def test_an_account_of_which_nothing_can_be_claimed_is_not_found(
    claim: Take, look: Look, sql: Sql, change: str
) -> None:
    sql(f"update resolver.{change}")
    assert look() == {}
    assert claim(rate=1.0) is None


@pytest.mark.parametrize("back", ["15 s", "2 min", "1 day"])
def test_a_moment_from_before_the_clock_was_set_back_hides_no_account(
    claim: Take, look: Look, sql: Sql, back: str
) -> None:
    sql("update resolver.accounts set next_slot_at = clock_timestamp() + %s::interval", back)
    assert look() == {"acme": False}
    assert claim() is not None


def test_what_another_run_has_is_its_own_for_as_long_as_its_permits_last(claim: Take, look: Look, sql: Sql) -> None:
    assert claim(run=ANOTHER, limit=4) is not None
    assert look() == {"acme": True}
    sql("update resolver.claims set lease_until = clock_timestamp() - interval '1 s'")
    assert look() == {"acme": False}


def test_what_our_own_run_has_is_not_anothers(claim: Take, look: Look) -> None:
    assert claim(run=OURS, limit=4) is not None
    assert look() == {"acme": False}


def test_a_lease_from_before_the_clock_was_set_back_is_nobodys(claim: Take, look: Look, sql: Sql) -> None:
    assert claim(run=ANOTHER, limit=4) is not None
    sql("update resolver.claims set lease_until = clock_timestamp() + interval '1 day'")
    assert look() == {"acme": False}
