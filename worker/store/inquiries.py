"""What people ask of the database: one lead with all there is to say, lists, reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, TextClause, text

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which leads a list is about; None: all."""

    account: str | None = None
    state: str | None = None
    campaign: str | None = None
    overdue: bool = False
    limit: int = 50


_LEAD = text("""
    select v.*, l.tracked_at, w.next_poll_at, w.watched_since, w.lease_until, w.last_poll_at, w.last_note,
        w.failure_streak, w.crashes, w.not_found_since, w.lead_id is not null as watched,
        a.paused_until, a.pause_kind, a.pause_reason, l.id as row_id, clock_timestamp() as now,
        r.next_recheck_at, r.recheck_until, o.processed_at, o.processed_raw, o.payout_pending
    from reporting.leads v
    join resolver.accounts a on a.name = v.account
    join resolver.leads l on l.account_id = a.id and l.queue_id = v.queue_id
    left join resolver.watches w on w.lead_id = l.id and not w.is_recheck
    left join resolver.rechecks r on r.lead_id = l.id
    left join resolver.outcomes o on o.lead_id = l.id
    where v.queue_id = :queue_id and (cast(:account as text) is null or v.account = :account)
""")

_REPLIES = text("""
    select r.id, r.received_at, r.http_status, length(r.body) as characters, r.cut,
        case when u.reply_id is null then 'persisted' else coalesce(u.parked_because, 'waiting') end as persisted
    from resolver.replies r left join resolver.unpersisted u on u.reply_id = r.id
    where r.lead_id = :lead_id order by r.id
""")

_LIST = text("""
    select v.account, v.queue_id, v.reference, v.state, v.submitted_at, v.campaign_name, v.polls, v.failures,
        w.next_poll_at, w.lease_until, v.state_reason, a.paused_until, a.pause_reason, clock_timestamp() as now
    from reporting.leads v
    join resolver.accounts a on a.name = v.account
    join resolver.leads l on l.account_id = a.id and l.queue_id = v.queue_id
    left join resolver.watches w on w.lead_id = l.id and not w.is_recheck
    where (cast(:account as text) is null or v.account = :account)
        and (cast(:state as text) is null or v.state = :state)
        and (cast(:campaign as text) is null or lower(:campaign) in (lower(v.campaign_id), lower(v.campaign_name)))
        and (not :overdue or w.next_poll_at < clock_timestamp() - interval '5 seconds')
    order by v.submitted_at desc, l.id desc limit :limit
""")

_CHILDREN = ("buyers", "deliveries", "events")

# What each way of grouping a report is called, and what it reads. Buyers have a report of their own.
REPORT_KEYS = {
    "campaign": "coalesce(campaign_name, campaign_id, '(not told)')",
    "supplier": "coalesce(supplier_name, supplier_id, '(not told)')",
    "day": "(submitted_at at time zone 'UTC')::date::text",
}

_REPORT = """
    select {key} as {by}, count(*) as submitted,
        count(*) filter (where campaign_accepted) as accepted,
        count(*) filter (where not campaign_accepted) as refused,
        count(*) filter (where sold) as sold,
        count(*) filter (where campaign_accepted and not sold) as unsold,
        count(*) filter (where state = 'quarantined') as quarantined,
        count(*) filter (where state in ('queued', 'pending', 'quarantined')) as open,
        count(*) filter (where state = 'returned') as returned,
        count(*) filter (where state = 'abandoned') as abandoned,
        coalesce(sum(revenue), 0) as revenue, coalesce(sum(payout), 0) as payout,
        string_agg(distinct currency, ', ') as currency,
        percentile_cont(0.5) within group (order by seconds_to_resolve) as median_seconds_to_resolve
    from reporting.leads where {period}
    group by 1 order by 1
"""

_BUYERS_REPORT = """
    select coalesce(b.buyer_name, b.buyer_id, b.buyer_bid, '(not told)') as buyer,
        count(*) filter (where lower(b.status) = 'sold') as sold,
        count(*) filter (where lower(b.status) is distinct from 'sold') as other,
        coalesce(sum(b.revenue) filter (where lower(b.status) = 'sold'), 0) as revenue, b.currency
    from reporting.buyers b join reporting.leads l using (account, queue_id) where {period}
    group by 1, b.currency order by revenue desc, 1
"""

_REASONS = """
    select coalesce(campaign_name, campaign_id, '(not told)') as campaign, result_code, result_reason,
        count(*) as refused
    from reporting.leads where not campaign_accepted and {period}
    group by 1, 2, 3 order by 1, 4 desc, 2
"""

_DELIVERIES = """
    select coalesce(d.status, '(not told)') as status, d.reason, count(*) as deliveries
    from reporting.deliveries d join reporting.leads l using (account, queue_id) where {period}
    group by 1, 2 order by 3 desc, 1
"""

_PERIOD = """submitted_at >= coalesce(cast(:first as date), '-infinity'::date)
    and submitted_at < coalesce(cast(:last as date) + 1, 'infinity'::date)"""


def read_leads(connection: Connection, queue_id: str, account: str | None) -> list[Row]:
    """Every lead of that queue ID (one an account), each with its buyers, deliveries, events and replies.

    `row_id` is the lead's own, for asking on; it is nobody else's business.
    """
    leads = _rows(connection, _LEAD, {"queue_id": queue_id, "account": account})
    return [_add_children(connection, lead) for lead in leads]


def list_leads(connection: Connection, wanted: Filter) -> list[Row]:
    """The newest leads that fit."""
    return _rows(
        connection,
        _LIST,
        {
            "account": wanted.account,
            "state": wanted.state,
            "campaign": wanted.campaign,
            "overdue": wanted.overdue,
            "limit": wanted.limit,
        },
    )


def read_pipeline(connection: Connection) -> list[Row]:
    """One row an account: what is open, due, held, paused."""
    return _rows(connection, text("select * from reporting.pipeline order by account"), {})


def read_report(connection: Connection, by: str, first: date | None, last: date | None) -> list[Row]:
    """Acceptance, sales and money, grouped by one of REPORT_KEYS or by buyer; days are UTC, both ends included."""
    statement = _BUYERS_REPORT if by == "buyer" else _REPORT.replace("{key}", REPORT_KEYS[by]).replace("{by}", by)
    return _period_rows(connection, statement, first, last)


def read_refusals(connection: Connection, first: date | None = None, last: date | None = None) -> list[Row]:
    """Why campaigns refused leads, and how many."""
    return _period_rows(connection, _REASONS, first, last)


def read_delivery_counts(connection: Connection, first: date | None = None, last: date | None = None) -> list[Row]:
    """Deliveries by status and reason."""
    return _period_rows(connection, _DELIVERIES, first, last)


def _add_children(connection: Connection, lead: Row) -> Row:
    values = {"account": lead["account"], "queue_id": lead["queue_id"]}
    for child in _CHILDREN:
        statement = text(f"select * from reporting.{child} where account = :account and queue_id = :queue_id")
        rows = [{k: v for k, v in row.items() if k not in values} for row in _rows(connection, statement, values)]
        # The view counts them, NULL where no reply had the block; here they stand themselves.
        lead[child] = None if child != "events" and lead[child] is None else rows
    lead["replies"] = _rows(connection, _REPLIES, {"lead_id": lead["row_id"]})
    return lead


def _period_rows(connection: Connection, statement: str, first: date | None, last: date | None) -> list[Row]:
    return _rows(connection, text(statement.replace("{period}", _PERIOD)), {"first": first, "last": last})


def _rows(connection: Connection, statement: TextClause, values: Mapping[str, object]) -> list[Row]:
    return [dict(row) for row in connection.execute(statement, values).mappings()]
