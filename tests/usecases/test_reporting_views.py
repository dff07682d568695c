"""The views that reporting reads: what is true, what is false, and what nobody told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.results import persist_replies

Sql = Callable[..., list[tuple[Any, ...]]]
DAY = date(2026, 3, 1)


def response(payout: str, **more: object) -> dict[str, Any]:
    return {"code": 1, "response": "OK", "leadId": 7, "payout": payout, **more}


CAMPAIGN = {"campaign": {"id": 565, "name": "Life"}, "supplier": {"id": 9, "name": "Acme"}}


def buyer(number: int, status: str, revenue: str) -> dict[str, Any]:
    return {"id": number, "name": f"Buyer {number}", "status": status, "revenue": revenue, "currency": "GBP"}


TWO_OF_THREE = [buyer(1, "Sold", "10.00"), buyer(2, "Sold", "2.50"), buyer(3, "Unsold", "0")]
ONE_OF_TWO = [{"id": 1, "status": "Sold"}, {"id": 2, "status": "Skipped"}]
REFUSAL = {"code": -8, "response": "HLR rejection", "rejectionId": 3}

# name, status, response, seconds from submission to resolution
LEADS: list[tuple[str, str, dict[str, Any] | None, int]] = [
    ("sold-to-two", "Approved", response("2.00", buyers=TWO_OF_THREE), 10),
    ("sold-to-one", "Approved", response("2.00", buyers=[buyer(1, "Sold", "10.00")], deliveries=ONE_OF_TWO), 20),
    ("unsold", "Rejected", response("0.00", buyers=[]), 60),
    ("refused", "Rejected", REFUSAL, 1),
    ("not-told", "Approved", response("1.00"), 30),
    ("returned", "Returned", response("0.00", buyers=[buyer(1, "Returned", "10.00")]), 100),
    ("pending", "Pending", response("Pending"), 0),
    ("quarantined", "Quarantined", {"quarantineId": 5}, 0),
    ("waiting", "Queued", None, 0),
]


@pytest.fixture
def told(engine: Engine, reply: Callable[..., None], sql: Sql) -> Sql:
    """All of LEADS, persisted, submitted at noon and resolved so many seconds later."""
    for name, status, said, seconds in LEADS:
        processed = f"2026-03-01T12:{seconds // 60:02}:{seconds % 60:02}Z"
        reply(f"lead-{name}", {"status": status, "response": said, "processed": processed, **CAMPAIGN})
    sql("update resolver.replies set received_at = '2026-03-01T13:00:00Z'")
    persist_replies(engine)
    sql("select track_lead('acme', 'lead-forgotten')")
    sql("update resolver.leads set state = 'abandoned' where queue_id = 'lead-forgotten'")
    sql("update resolver.leads set submitted_at = '2026-03-01T12:00:00Z'")
    sql("delete from resolver.watches w using resolver.leads l where l.id = w.lead_id and l.state = 'abandoned'")
    return sql


def test_sold_is_true_false_or_not_told(told: Sql) -> None:
    assert dict(told("select substr(queue_id, 6), sold from reporting.leads")) == {
        "sold-to-two": True,
        "sold-to-one": True,
        "unsold": False,
        "refused": False,
        "not-told": None,
        "returned": False,
        "pending": None,
        "quarantined": None,
        "waiting": None,
        "forgotten": None,
    }


def test_buyers_and_deliveries_are_counted_where_they_were_told(told: Sql) -> None:
    rows = told("select substr(queue_id, 6), buyers, revenue, deliveries, deliveries_sold from reporting.leads")
    found = {name: rest for name, *rest in rows}
    assert found["sold-to-two"] == [2, Decimal("12.5"), None, None]
    assert found["sold-to-one"] == [1, Decimal(10), 2, 1]
    assert found["unsold"] == [0, None, None, None]
    assert found["not-told"] == [None, None, None, None]
    assert found["waiting"] == [None, None, None, None]


def test_a_lead_whose_lease_has_run_out_is_due(told: Sql) -> None:
    told("update resolver.watches set next_poll_at = clock_timestamp() + interval '1 h'")
    told(
        "update resolver.watches set claim_id = 1, next_poll_at = clock_timestamp() - interval '3 min',"
        " lease_until = clock_timestamp() + case queue_id when 'lead-waiting' then -1 else 1 end * interval '1 min'"
    )
    assert told("select due, oldest_overdue_seconds >= 180 from reporting.pipeline") == [(1, True)]


def test_seconds_to_resolve_count_from_submission(told: Sql) -> None:
    rows: dict[str, Any] = dict(told("select substr(queue_id, 6), seconds_to_resolve from reporting.leads"))
    assert rows["sold-to-one"] == 20.0
    assert rows["pending"] is None


def test_a_lead_handed_over_long_after_it_was_resolved_tells_nothing_about_resolving(told: Sql) -> None:
    told("update resolver.leads set submitted_at = resolved_at + interval '1 day' where queue_id = 'lead-refused'")
    told("update resolver.leads set submitted_at = resolved_at + interval '1 s' where queue_id = 'lead-unsold'")
    rows: dict[str, Any] = dict(told("select substr(queue_id, 6), seconds_to_resolve from reporting.leads"))
    assert rows["refused"] is None
    assert rows["unsold"] == 0.0


def test_the_day_adds_up(told: Sql) -> None:
    columns = (
        "sum(submitted), sum(accepted), sum(refused), sum(sold), sum(unsold), sum(quarantined), sum(open),"
        " sum(abandoned), sum(returned), sum(revenue), sum(payout)"
    )
    assert told(f"select day, {columns} from reporting.daily group by day") == [
        (DAY, 10, 6, 1, 2, 2, 1, 3, 1, 1, Decimal("22.5"), Decimal(5))
    ]


def test_rates_are_shares_of_what_was_told_and_the_median_is_of_the_resolved(told: Sql) -> None:
    assert told(
        "select acceptance_rate, sold_rate, median_seconds_to_resolve from reporting.daily where campaign_id = '565'"
    ) == [(Decimal("0.8571"), Decimal("0.5000"), 25.0)]
    assert told("select acceptance_rate, sold_rate from reporting.daily where campaign_id is null") == [(None, None)]


def test_every_sold_buyer_is_a_row_with_its_money(told: Sql) -> None:
    assert told(
        "select substr(queue_id, 6), buyer_id, buyer_name, revenue, currency from reporting.buyers"
        " where status = 'Sold' order by 1, 2"
    ) == [
        ("sold-to-one", "1", "Buyer 1", Decimal(10), "GBP"),
        ("sold-to-two", "1", "Buyer 1", Decimal(10), "GBP"),
        ("sold-to-two", "2", "Buyer 2", Decimal("2.5"), "GBP"),
    ]


def test_the_pipeline_counts_what_is_open_due_held_and_given_up(told: Sql) -> None:
    told("update resolver.watches set next_poll_at = now() + interval '1 h'")
    told(
        "update resolver.watches w set next_poll_at = now() - interval '100 s' from resolver.leads l"
        " where l.id = w.lead_id and l.state in ('pending', 'quarantined')"
    )
    ((open_, due, overdue, held, given_up),) = told(
        "select open, due, oldest_overdue_seconds, quarantined, abandoned from reporting.pipeline"
    )
    assert (open_, due, held, given_up) == (3, 2, 1, 1)
    assert 100 <= overdue < 160


def test_the_pipeline_of_an_account_without_leads_is_nothing(engine: Engine, sql: Sql) -> None:  # noqa: ARG001 - migrated
    sql("insert into resolver.accounts (name) values ('idle')")
    assert sql("select open, due, oldest_overdue_seconds, polls_last_minute, paused_until from reporting.pipeline") == [
        (0, 0, 0.0, 0, None)
    ]


def test_the_state_is_the_fold_of_the_events(told: Sql) -> None:
    told("delete from resolver.leads where state = 'abandoned'")  # set by hand above
    assert (
        told(
            "select l.queue_id from reporting.leads l where l.state is distinct from ("
            " select to_state from resolver.lead_events e join resolver.leads x on x.id = e.lead_id"
            " where x.queue_id = l.queue_id order by e.id desc limit 1)"
        )
        == []
    )
