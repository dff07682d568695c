"""Choosing leads by their journal, and comparing what is recorded of them before and after: for the replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

Snapshot = dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which leads: of an account, by queue ID, or with a reply since a moment; None: any."""

    account: str | None = None
    queue_ids: Sequence[str] | None = None
    since: datetime | None = None


_CHOOSE = text("""
    select l.id from resolver.leads l join resolver.accounts a on a.id = l.account_id
    where l.id > :after
        and (cast(:account as text) is null or a.name = :account)
        and (cast(:queue_ids as text[]) is null or l.queue_id = any(:queue_ids))
        and exists (
            select from resolver.replies r where r.lead_id = l.id
                and (cast(:since as timestamptz) is null or r.received_at >= :since))
    order by l.id limit :limit
""")

# Everything a reply can tell, as one document a lead: two documents can be compared whatever columns there are.
_SNAPSHOT = text("""
    select l.id, to_jsonb(v) - 'polls' - 'failures'
        || jsonb_build_object('buyers', (
            select jsonb_agg(to_jsonb(b) - 'lead_id' order by b.key) from resolver.buyers b where b.lead_id = l.id))
        || jsonb_build_object('deliveries', (
            select jsonb_agg(to_jsonb(d) - 'lead_id' order by d.key) from resolver.deliveries d where d.lead_id = l.id))
        as document
    from resolver.leads l join resolver.accounts a on a.id = l.account_id
    join reporting.leads v on v.account = a.name and v.queue_id = l.queue_id
    where l.id = any(:lead_ids)
""")


def choose_leads(connection: Connection, chosen: Chosen, after: int, limit: int) -> list[int]:
    """The next leads that have a journal, by id."""
    values = {"account": chosen.account, "queue_ids": chosen.queue_ids, "since": chosen.since}
    return list(connection.execute(_CHOOSE, {**values, "after": after, "limit": limit}).scalars())


def read_snapshot(connection: Connection, lead_ids: Sequence[int]) -> Snapshot:
    """All that is recorded of these leads, by id."""
    return {row.id: row.document for row in connection.execute(_SNAPSHOT, {"lead_ids": list(lead_ids)})}
