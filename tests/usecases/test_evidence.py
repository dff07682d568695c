"""Each known fact names the reply that last changed it, or says that there is none to name."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.evidence import FORGOTTEN, READ_BEFORE, Evidence, find_evidence
from worker.results import persist_replies
from worker.store.db import transaction

Sql = Callable[..., list[tuple[Any, ...]]]
LEAD = "lead-0001"
Explain = Callable[[], dict[str, Evidence]]


def record(status: str, buyer: str, revenue: str, **more: Any) -> dict[str, Any]:
    buyers = [{"id": 4, "name": "Marlow", "status": buyer, "revenue": revenue, "currency": "GBP"}]
    return {"status": status, "response": {"code": 1, "leadId": 7, "buyers": buyers, **more}}


@pytest.fixture
def told(engine: Engine, reply: Callable[..., None]) -> None:
    """Pending with its campaign, then approved and sold, told again, then returned."""
    delivery = {"id": 70, "status": "Sold", "buyerId": 4}
    campaign = {"campaign": {"id": 5, "name": "Life"}}
    reply(LEAD, {"status": "Pending", "response": {"code": 1, "leadId": 7, "payout": "Pending", **campaign}})
    reply(
        LEAD,
        record("Approved", "Sold", "12.00", payout="2.00", deliveries=[delivery]),
    )
    reply(LEAD, record("Approved", "Sold", "12.00", payout="2.00"))
    reply(LEAD, record("Returned", "Returned", "0.00"))
    persist_replies(engine)


@pytest.fixture
def explain(engine: Engine, lead_of: Callable[[str], int]) -> Explain:
    def run() -> dict[str, Evidence]:
        with transaction(engine) as connection:
            return find_evidence(connection, lead_of(LEAD), LEAD)

    return run


def reply_of(explained: dict[str, Evidence]) -> dict[str, int | None]:
    return {name: evidence.reply for name, evidence in explained.items()}


@pytest.mark.usefixtures("told")
def test_a_fact_names_the_reply_that_last_changed_it(explain: Explain) -> None:
    explained = explain()
    assert reply_of(explained) == {
        "campaign_accepted": 1, "result_code": 1, "lead_id": 1, "campaign_id": 1, "campaign_name": 1,
        "payout": 2, "payout_pending": 2, "currency": 2, "delivery 70": 2,
        "sold": 4, "revenue": 4, "buyer 4": 4,
    }  # fmt: skip
    assert explained["revenue"].value == Decimal(0)
    assert explained["revenue"].said == "LeadByte says: Returned"
    assert explained["revenue"].received_at is not None
    assert explained["buyer 4"].value == {
        "id": "4", "name": "Marlow", "status": "Returned", "revenue": Decimal(0), "currency": "GBP",
    }  # fmt: skip


@pytest.mark.usefixtures("told")
def test_a_fact_whose_reply_was_forgotten_says_so(explain: Explain, sql: Sql) -> None:
    sql("delete from resolver.replies where id <= 2")
    sql("update resolver.outcomes set journal_cut_at = now()")
    explained = explain()
    assert explained["campaign_name"] == Evidence("Life", None, None, FORGOTTEN)
    assert explained["revenue"].reply == 4
    sql("delete from resolver.replies")
    assert {evidence.said for evidence in explain().values()} == {FORGOTTEN}


@pytest.mark.usefixtures("told")
def test_a_fact_that_todays_reader_reads_otherwise_says_so(explain: Explain, sql: Sql) -> None:
    sql("update resolver.outcomes set result_reason = 'as it was read once', payout = 3")
    explained = explain()
    assert explained["payout"] == Evidence(Decimal(3), None, None, READ_BEFORE)
    assert explained["result_reason"].said == READ_BEFORE


def test_a_lead_that_nothing_is_known_of_has_no_evidence(explain: Explain) -> None:
    assert explain() == {}


def test_replies_that_wait_to_be_persisted_are_no_evidence_yet(explain: Explain, reply: Callable[..., None]) -> None:
    reply(LEAD, record("Approved", "Sold", "12.00"))
    assert explain() == {}
