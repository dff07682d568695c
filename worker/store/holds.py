"""Held leads that nobody is acting upon, with what the rules about them need to know. See `worker.domain.holds`."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from worker.domain.facts import Named
from worker.domain.holds import Hold

_HELD = text("""
    select l.id from resolver.leads l join resolver.accounts a on a.id = l.account_id
    where a.name = :account and l.state = 'quarantined' and l.resolved_at is null
""")
_HELD_ONE = text("""
    select l.id from resolver.leads l join resolver.accounts a on a.id = l.account_id
    where a.name = :account and l.queue_id = :queue_id and l.state = 'quarantined'
""")
# Held since, and which hold it is, as resolver.request_actions and reporting.quarantine count them. A lead that
# somebody acts upon, or has, is left to them, unless LeadByte refused it.
_READ = text("""
    select l.queue_id, o.campaign_id, o.campaign_name, h.held_since,
        coalesce(o.fields_present, '{}') || coalesce(x.updated, '{}') as filled, coalesce(x.asked, '{}') as asked
    from resolver.leads l
    join resolver.outcomes o on o.lead_id = l.id
    cross join lateral (
        select max(e.at) filter (where e.to_state = 'quarantined'
                and (e.from_state is distinct from 'quarantined' or e.cause like 'held again%')) as held_since,
            greatest(1, count(*) filter (where e.to_state = 'quarantined'
                and (e.from_state is distinct from 'quarantined' or e.cause like 'held again%'))
            - count(*) filter (where e.from_state = 'quarantined' and e.to_state = 'abandoned')) as cycle
        from resolver.lead_events e where e.lead_id = l.id
    ) h
    cross join lateral (
        select coalesce(bool_or(b.state in ('requested', 'sent', 'unsure') or b.kind <> 'update'
                and b.state <> 'refused'), false) as is_acted_upon,
            array_agg(distinct b.kind) filter (where b.by_policy) as asked,
            array_agg(distinct n.name) filter (where n.name is not null) as updated
        from resolver.actions b
        left join lateral unnest(b.field_names) n (name) on b.kind = 'update' and b.state = 'confirmed'
        where b.account_id = l.account_id and b.quarantine_id = o.quarantine_id and b.cycle = h.cycle
    ) x
    where l.id = any(:ids) and l.state = 'quarantined' and l.resolved_at is null
        and o.quarantine_id ~ '^[1-9][0-9]{0,17}$' and h.held_since is not null and not x.is_acted_upon
    order by l.id
""")


def list_held(connection: Connection, account: str) -> list[int]:
    """The held leads of an account, by their ids."""
    return list(connection.execute(_HELD, {"account": account}).scalars())


def read_holds(connection: Connection, lead_ids: Sequence[int]) -> list[Hold]:
    """Those of the leads that are held, and that nobody is acting upon."""
    return [
        Hold(
            row.queue_id,
            row.held_since,
            None
            if row.campaign_id is None and row.campaign_name is None
            else Named(row.campaign_id, row.campaign_name),
            frozenset(row.filled),
            frozenset(row.asked),
        )
        for row in connection.execute(_READ, {"ids": list(lead_ids)})
    ]


def find_hold(connection: Connection, account: str, queue_id: str) -> Hold | None:
    """The hold of one lead, if nobody is acting upon it."""
    ids = list(connection.execute(_HELD_ONE, {"account": account, "queue_id": queue_id}).scalars())
    return next(iter(read_holds(connection, ids)), None)
