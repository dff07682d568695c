"""The peers' own tables, of the same shape as the product's, and how a reply becomes rows in the plainest way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from tests.benchmarks.pipeline.replies import Expected

Row = tuple[Any, ...]
SCHEMA = """
    create schema peer;
    create table peer.leads (id bigint primary key, queue_id text not null unique, state text not null default 'queued',
        polls integer not null default 0, resolved_at timestamptz);
    create index ix_peer_leads_open on peer.leads (id) where resolved_at is null;
    create table peer.outcomes (lead_id bigint primary key references peer.leads, accepted boolean, code integer,
        reason text, leadbyte_id text, rejection_id text, campaign_id text, campaign_name text, supplier_id text,
        supplier_name text, sold boolean, revenue numeric(18, 6), payout numeric(18, 6), processed_at timestamptz);
    create table peer.buyers (lead_id bigint references peer.leads, buyer_id text, bid text, name text, status text,
        revenue numeric(18, 6), currency text, primary key (lead_id, buyer_id));
    create table peer.deliveries (lead_id bigint references peer.leads, delivery_id text, name text, buyer_id text,
        status text, reason text, seen_at timestamptz, primary key (lead_id, delivery_id));
    create table peer.events (id bigint generated always as identity primary key,
        lead_id bigint references peer.leads, at timestamptz, from_state text, to_state text, cause text);
    create index ix_peer_events_by_lead on peer.events (lead_id, id);
    create table peer.replies (id bigint generated always as identity primary key,
        lead_id bigint references peer.leads, received_at timestamptz, http_status smallint, body text);
    create index ix_peer_replies_by_lead on peer.replies (lead_id);
"""
COUNT_OPEN = "select count(*) from peer.leads where resolved_at is null"
_COUNT_STORED = """
    select count(*) filter (where l.state = 'approved' and o.sold), count(*) filter (where l.state = 'rejected'),
        (select count(*) from peer.buyers), (select count(*) from peer.deliveries)
    from peer.leads l join peer.outcomes o on o.lead_id = l.id
    where exists (select from peer.events e where e.lead_id = l.id and e.to_state = l.state)
        and exists (select from peer.replies r where r.lead_id = l.id)
"""
COLUMNS = {
    "outcomes": "lead_id, accepted, code, reason, leadbyte_id, rejection_id, campaign_id, campaign_name, supplier_id,"
    " supplier_name, sold, revenue, payout, processed_at",
    "buyers": "lead_id, buyer_id, bid, name, status, revenue, currency",
    "deliveries": "lead_id, delivery_id, name, buyer_id, status, reason, seen_at",
    "events": "lead_id, at, from_state, to_state, cause",
    "replies": "lead_id, received_at, http_status, body",
}


@dataclass(frozen=True, slots=True)
class Rows:
    """What one verdict adds to the tables."""

    state: str
    by_table: dict[str, list[Row]]


def create_tables(database_url: str, queue_ids: Sequence[str]) -> None:
    """The schema with these leads in it, numbered from 1."""
    with psycopg.connect(database_url) as connection:
        connection.execute(SCHEMA)
        with connection.cursor().copy("copy peer.leads (id, queue_id) from stdin") as copy:
            for lead in enumerate(queue_ids, start=1):
                copy.write_row(lead)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("vacuum analyze peer.leads")


def count_stored(connection: psycopg.Connection[tuple[int, ...]]) -> Expected:
    """What is in the tables now."""
    row = connection.execute(_COUNT_STORED).fetchone()
    assert row is not None
    return Expected(*row)


def make_rows(lead_id: int, queue_id: str, body: bytes) -> Rows | None:
    """The rows of a verdict; None while the lead is queued."""
    (record,) = json.loads(body)["records"]
    if record["queueId"] != queue_id:
        raise ValueError(f"an answer about another lead than {queue_id}")
    if record["status"] == "Queued":
        return None
    now = datetime.now(UTC)
    state = record["status"].lower()
    said = record["response"]
    buyers, deliveries = said.get("buyers") or (), said.get("deliveries") or ()
    campaign, supplier = said["campaign"], said["supplier"]
    revenue = sum(float(b["revenue"]) for b in buyers if b["status"] == "Sold")
    outcome = (
        lead_id, said["code"] == 1, said["code"], said["response"], said["leadId"], said["rejectionId"],
        campaign["id"], campaign["name"], supplier["id"], supplier["name"], state == "approved", revenue,
        said.get("payout"), record["processed"],
    )  # fmt: skip
    return Rows(
        state,
        {
            "outcomes": [outcome],
            "buyers": [
                (lead_id, str(b["id"]), b["bid"], b["name"], b["status"], b["revenue"], b["currency"]) for b in buyers
            ],
            "deliveries": [
                (lead_id, str(d["id"]), d["name"], d["buyerId"], d["status"], d["reason"], now) for d in deliveries
            ],
            "events": [(lead_id, now, "queued", state, f"LeadByte says {record['status']}")],
            "replies": [(lead_id, now, 200, body.decode())],
        },
    )
