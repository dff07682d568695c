"""Edits of money and buyers after the verdict: recorded, visible as an event, and nothing known lost to silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.replaying import replay
from worker.results import persist_replies
from worker.store.journal import Chosen

Sql = Callable[..., list[tuple[Any, ...]]]
LEAD = "lead-0001"
EVENTS = "select from_state, to_state, cause from reporting.events"  # a view in the order of events


def approved(status: str = "Sold", revenue: str = "12.00", **more: Any) -> dict[str, Any]:
    buyer = {"id": 4, "name": "Marlow", "status": status, "revenue": revenue, "currency": "GBP"}
    return {"status": "Approved", "response": {"code": 1, "leadId": 7, "buyers": [buyer], **more}}


@pytest.fixture
def tell(engine: Engine, reply: Callable[..., None]) -> Callable[..., None]:
    def run(*records: dict[str, Any]) -> None:
        for record in records:
            reply(LEAD, record)
        persist_replies(engine)

    return run


def test_a_money_edit_is_recorded_and_said(
    engine: Engine, tell: Callable[..., None], facts_of: Callable[..., dict[str, Any]], sql: Sql
) -> None:
    tell(approved())
    resolved = facts_of(LEAD, "resolved_at", "state_reason")
    tell(approved(revenue="9.50"))
    assert facts_of(LEAD, "revenue", "state", "sold") == {"revenue": 9.5, "state": "approved", "sold": True}
    assert facts_of(LEAD, "resolved_at", "state_reason") == resolved
    changed = "changed after final: revenue 12.00 → 9.50 (GBP), buyer Marlow: 12.00 → 9.50"
    assert sql(EVENTS)[1:] == [("queued", "approved", "LeadByte says: Approved"), ("approved", "approved", changed)]
    events = sql(EVENTS)
    assert [page.changes for page in replay(engine, Chosen(), dry_run=False)] == [()]
    assert sql(EVENTS) == events


def test_the_same_edit_told_twice_is_one_event(tell: Callable[..., None], sql: Sql) -> None:
    tell(approved(), approved(revenue="9.50"), approved(revenue="9.50"))
    assert len([cause for _, _, cause in sql(EVENTS) if cause.startswith("changed after final")]) == 1


@pytest.mark.parametrize(
    "silence",
    [
        {"status": "Approved"},
        {"status": "Approved", "response": {"code": 1, "leadId": 7}},
        approved(revenue=""),
        approved(revenue="N/A", payout=""),
        {"status": "Approved", "response": {"code": 1, "leadId": 7, "buyers": []}},
    ],
    ids=["no block", "no buyers", "no revenue", "no amount", "an empty list"],
)
def test_known_revenue_is_never_overwritten_by_nothing(
    tell: Callable[..., None], facts_of: Callable[..., dict[str, Any]], sql: Sql, silence: dict[str, Any]
) -> None:
    tell(approved(payout="2.00"))
    known, events = facts_of(LEAD), sql(EVENTS)
    tell(silence)
    assert facts_of(LEAD) == known
    assert sql(EVENTS) == events


def test_a_return_says_what_it_took_back(
    tell: Callable[..., None], facts_of: Callable[..., dict[str, Any]], sql: Sql
) -> None:
    tell(approved())
    tell({**approved("Returned", "0.00"), "status": "Returned"})
    assert facts_of(LEAD, "state", "revenue", "sold") == {"state": "returned", "revenue": 0, "sold": False}
    ((cause,),) = sql("select cause from reporting.events where to_state = 'returned'")
    assert cause == (
        "LeadByte says: Returned; revenue 12.00 → 0.00 (GBP), sold yes → no, "
        "buyer Marlow: Sold → Returned; 12.00 → 0.00"
    )


def test_a_rejection_after_the_approval_is_kept_in_sight_and_its_facts_recorded(
    engine: Engine, tell: Callable[..., None], facts_of: Callable[..., dict[str, Any]], sql: Sql
) -> None:
    tell(approved())
    tell({**approved("Unsold", ""), "status": "Rejected"})
    told = {"state": "approved", "sold": False, "revenue": 0, "buyers": 0}
    assert facts_of(LEAD, *told) == told
    cause = (
        "regressed: LeadByte says: Rejected; kept approved; revenue 12.00 → 0.00 (GBP), sold yes → no, "
        "buyer Marlow: Sold → Unsold"
    )
    assert sql(EVENTS)[2:] == [("approved", "approved", cause)]
    assert [page.changes for page in replay(engine, Chosen(), dry_run=True)] == [()]


def test_an_unknown_word_is_an_event_before_and_after_the_verdict(tell: Callable[..., None], sql: Sql) -> None:
    tell({"status": "Transmogrified"}, approved(), {**approved(), "status": "Chargeback"})
    assert sql(EVENTS)[1:] == [
        ("queued", "queued", "unknown status 'Transmogrified'"),
        ("queued", "approved", "LeadByte says: Approved"),
        ("approved", "approved", "regressed: unknown status 'Chargeback'; kept approved"),
    ]


def test_news_before_the_verdict_is_no_change_after_it(tell: Callable[..., None], sql: Sql) -> None:
    tell({**approved("Assigned", ""), "status": "Pending"}, approved())
    assert [cause for _, _, cause in sql(EVENTS)][1:] == ["LeadByte says: Pending", "LeadByte says: Approved"]
