"""The facts of leads as rows, read and written in bulk under the lock of their lead. See `worker.store.worklist`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, Row, text

from worker.domain.facts import NOTHING_TOLD, Buyer, Delivery, Facts, Named
from worker.domain.lifecycle import STATES, State
from worker.store.bulk import execute_many, fetch_rows, upsert, write_values

Seen = tuple[datetime, datetime]  # first and last


class KnownLead(Struct, frozen=True, gc=False):
    """What is recorded of a lead so far."""

    lead_id: int
    queue_id: str
    account: str
    state: State
    state_reason: str | None
    resolved_at: datetime | None
    facts: Facts
    last_reply_id: int  # the newest reply in these facts; 0: none yet
    journal_is_cut: bool = False  # old replies were forgotten


class Outcome(Struct, frozen=True, gc=False):
    """A lead's facts as they are to be recorded, the newest reply in them, and when each delivery was in a reply."""

    lead_id: int
    facts: Facts
    reply_id: int
    seen: Mapping[str, Seen]


_LOCK_LEADS = text("""
    select l.id, l.queue_id, a.name as account, l.state, l.state_reason, l.resolved_at
    from resolver.leads l join resolver.accounts a on a.id = l.account_id
    where l.id = any(cast(:lead_ids as bigint[])) order by l.id for no key update of l
""")

_FORGET_ROWS = text("""
    with bought as (delete from resolver.buyers where lead_id = any(:lead_ids))
    delete from resolver.deliveries where lead_id = any(:lead_ids)
""")

_OUTCOMES = text("select * from resolver.outcomes where lead_id = any(cast(:lead_ids as bigint[]))")
_BUYERS = text("""
    select * from resolver.buyers where lead_id = any(cast(:lead_ids as bigint[])) order by lead_id, key
""")
_DELIVERIES = text("""
    select * from resolver.deliveries where lead_id = any(cast(:lead_ids as bigint[])) order by lead_id, key
""")

_OUTCOME_COLUMNS = {
    "lead_id": "bigint",
    "campaign_accepted": "boolean",
    "result_code": "integer",
    "result_reason": "text",
    "leadbyte_lead_id": "text",
    "rejection_id": "text",
    "campaign_id": "text",
    "campaign_name": "text",
    "supplier_id": "text",
    "supplier_name": "text",
    "sold": "boolean",
    "buyers_told": "boolean",
    "deliveries_told": "boolean",
    "revenue": "numeric",
    "payout": "numeric",
    "payout_pending": "boolean",
    "currency": "text",
    "quarantine_id": "text",
    "processed_at": "timestamptz",
    "processed_raw": "text",
    "fields_present": "text[]",
    "last_reply_id": "bigint",
}
_BUYER_COLUMNS = {
    "lead_id": "bigint",
    "key": "text",
    "buyer_id": "text",
    "bid": "text",
    "name": "text",
    "status": "text",
    "revenue": "numeric",
    "currency": "text",
}
_DELIVERY_COLUMNS = {
    "lead_id": "bigint",
    "key": "text",
    "delivery_id": "text",
    "name": "text",
    "buyer_id": "text",
    "status": "text",
    "reason": "text",
    "revenue": "numeric",
    "first_seen_at": "timestamptz",
    "last_seen_at": "timestamptz",
}
_SAVE_OUTCOMES = upsert("resolver.outcomes", _OUTCOME_COLUMNS, ["lead_id"])
_SAVE_BUYERS = upsert("resolver.buyers", _BUYER_COLUMNS, ["lead_id", "key"])
_SAVE_DELIVERIES = upsert("resolver.deliveries", _DELIVERY_COLUMNS, ["lead_id", "key"], kept=["first_seen_at"])


def lock_leads(connection: Connection, lead_ids: Sequence[int]) -> list[KnownLead]:
    """Lock the leads, in one order for everybody, and read all that is recorded of them."""
    rows = fetch_rows(connection.execute(_LOCK_LEADS, {"lead_ids": write_values(lead_ids)}))
    known = load_facts(connection, lead_ids)
    unknown = (NOTHING_TOLD, 0, False)
    return [
        KnownLead(id_, queue_id, account, STATES[state], state_reason, resolved_at, *known.get(id_, unknown))
        for id_, queue_id, account, state, state_reason, resolved_at in rows
    ]


def forget_rows(connection: Connection, lead_ids: Sequence[int]) -> None:
    """Drop the buyers and deliveries of leads whose facts are about to be written anew."""
    connection.execute(_FORGET_ROWS, {"lead_ids": list(lead_ids)})


def save_outcomes(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Record facts: insert them, or replace what differs."""
    buyers = [_buyer_row(outcome.lead_id, buyer) for outcome in outcomes for buyer in outcome.facts.buyers or ()]
    deliveries = [
        _delivery_row(outcome.lead_id, delivery, outcome.seen[delivery.key])
        for outcome in outcomes
        for delivery in outcome.facts.deliveries or ()
        if delivery.key in outcome.seen
    ]
    for statement, columns, rows in (
        (_SAVE_OUTCOMES, _OUTCOME_COLUMNS, [_outcome_row(outcome) for outcome in outcomes]),
        (_SAVE_BUYERS, _BUYER_COLUMNS, buyers),
        (_SAVE_DELIVERIES, _DELIVERY_COLUMNS, deliveries),
    ):
        if rows:
            execute_many(connection, statement, columns, rows)


def load_facts(connection: Connection, lead_ids: Sequence[int]) -> Mapping[int, tuple[Facts, int, bool]]:
    """What is recorded of these leads: facts, the newest reply in them, and whether older ones were forgotten."""
    values = {"lead_ids": write_values(lead_ids)}
    outcomes = connection.execute(_OUTCOMES, values).all()
    if not outcomes:
        return {}  # the ordinary case: a first reply
    buyers: dict[int, list[Buyer]] = {}
    for row in connection.execute(_BUYERS, values):
        buyers.setdefault(row.lead_id, []).append(
            Buyer(row.key, row.buyer_id, row.bid, row.name, row.status, row.revenue, row.currency)
        )
    deliveries: dict[int, list[Delivery]] = {}
    for row in connection.execute(_DELIVERIES, values):
        deliveries.setdefault(row.lead_id, []).append(
            Delivery(row.key, row.delivery_id, row.name, row.buyer_id, row.status, row.reason, row.revenue)
        )
    return {
        row.lead_id: (_read_facts(row, buyers, deliveries), row.last_reply_id, row.journal_cut_at is not None)
        for row in outcomes
    }


def _read_facts(
    row: Row[tuple[object, ...]], buyers: Mapping[int, list[Buyer]], deliveries: Mapping[int, list[Delivery]]
) -> Facts:
    return Facts(
        campaign_accepted=row.campaign_accepted,
        result_code=row.result_code,
        result_reason=row.result_reason,
        lead_id=row.leadbyte_lead_id,
        rejection_id=row.rejection_id,
        campaign=_read_named(row.campaign_id, row.campaign_name),
        supplier=_read_named(row.supplier_id, row.supplier_name),
        sold=row.sold,
        buyers=tuple(buyers.get(row.lead_id, ())) if row.buyers_told else None,
        deliveries=tuple(deliveries.get(row.lead_id, ())) if row.deliveries_told else None,
        revenue=row.revenue,
        payout=row.payout,
        payout_pending=row.payout_pending,
        currency=row.currency,
        quarantine_id=row.quarantine_id,
        processed_at=row.processed_at,
        processed_raw=row.processed_raw,
        fields_present=None if row.fields_present is None else tuple(row.fields_present),
    )


def _read_named(id_: str | None, name: str | None) -> Named | None:
    return None if id_ is None and name is None else Named(id_, name)


def _outcome_row(outcome: Outcome) -> tuple[object, ...]:
    facts = outcome.facts
    campaign, supplier = facts.campaign or Named(), facts.supplier or Named()
    return (
        outcome.lead_id, facts.campaign_accepted, facts.result_code, facts.result_reason, facts.lead_id,
        facts.rejection_id, campaign.id, campaign.name, supplier.id, supplier.name, facts.sold,
        facts.buyers is not None, facts.deliveries is not None, facts.revenue, facts.payout, facts.payout_pending,
        facts.currency, facts.quarantine_id, facts.processed_at, facts.processed_raw,
        facts.fields_present, outcome.reply_id,
    )  # fmt: skip


def _buyer_row(lead_id: int, buyer: Buyer) -> tuple[object, ...]:
    return (lead_id, buyer.key, buyer.id, buyer.bid, buyer.name, buyer.status, buyer.revenue, buyer.currency)


def _delivery_row(lead_id: int, delivery: Delivery, seen: Seen) -> tuple[object, ...]:
    return (
        lead_id, delivery.key, delivery.id, delivery.name, delivery.buyer_id, delivery.status, delivery.reason,
        delivery.revenue, *seen,
    )  # fmt: skip
