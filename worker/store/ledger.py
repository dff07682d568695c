"""The ledger of actions as people read it: what is held, what was asked for, and what became of it.

Rows are those of the view `reporting.quarantine` with the mechanics beside them. Neighbours: `worker.store.actions` and
`worker.store.action_looks` write the ledger, `worker.explaining_actions` puts it in words.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, text

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows a list is about. `state` is an action's, or `none` for leads about which nothing was asked."""

    account: str | None = None
    state: str | None = None
    held: bool = False  # only of leads that are held now
    waiting: bool = False  # only what waits for a person
    everything: bool = False  # also what is concluded of leads that are held no more, or held anew
    limit: int = 50


# Nothing more will happen by itself: nobody can look it up, or LeadByte never did what it had acknowledged.
_WAITS = "(b.state = 'unsure' and b.next_try_at is null or b.state = 'acknowledged' and b.follow_until is null)"
_ROWS = f"""
    select q.*, q.held_since is not null
            and q.cycle = max(q.cycle) over (partition by q.account, q.queue_id) as is_current,
        coalesce({_WAITS}, false) as waits_for_person,
        coalesce(q.action_state not in ('confirmed', 'refused'), false) as is_open,
        b.unsure_at, b.attempts, b.next_try_at, b.follow_until, c.paused_until, c.pause_reason,
        clock_timestamp() as now
    from reporting.quarantine q
    join resolver.accounts c on c.name = q.account
    left join resolver.actions b on b.id = q.action_id
"""
_LIST = text(f"""
    select * from ({_ROWS}) q
    where (cast(:account as text) is null or q.account = :account)
        and (cast(:state as text) is null or coalesce(q.action_state, 'none') = :state)
        and (not :held or q.held_since is not null)
        and (not :waiting or q.waits_for_person)
        and (:everything or cast(:state as text) is not null or q.is_open or q.is_current)
    order by case when q.waits_for_person then 0 when q.is_open then 1 when q.is_current then 2 else 3 end,
        coalesce(q.held_since, q.requested_at), q.account, q.queue_id, q.quarantine_id, q.action_id
    limit :limit
""")
_FIND = text("""
    select distinct account, queue_id, case when queue_id is null then quarantine_id end as quarantine_id
    from reporting.quarantine
    where (queue_id = :id or quarantine_id = :id) and (cast(:account as text) is null or account = :account)
    order by account, queue_id
""")
_STORY = text(f"""
    select * from ({_ROWS}) q
    where q.account = :account and (q.queue_id = :queue_id or q.queue_id is null and q.quarantine_id = :quarantine_id)
    order by q.cycle, q.action_id
""")
_HOLDS = text("""
    select at, from_state, to_state, cause from reporting.events
    where account = :account and queue_id = :queue_id and 'quarantined' in (from_state, to_state) order by at
""")
_STATE = text("""
    select state from reporting.leads
    where queue_id = :id and (cast(:account as text) is null or account = :account) limit 1
""")
_OPEN = text(f"""
    select b.id as action_id, b.kind as action, b.state as action_state, b.requested_by, b.requested_at, b.message,
        b.next_try_at, b.follow_until, {_WAITS} as waits_for_person
    from resolver.actions b where b.lead_id = :lead_id and b.state not in ('confirmed', 'refused') order by b.id
""")
_PROGRESS = text(f"""
    select b.id as action_id, b.kind as action, b.state as action_state, b.message, b.field_names as fields,
        {_WAITS} as waits_for_person, f.id as waits_behind, f.field_names as fields_before
    from resolver.actions b
    left join lateral (
        select f.id, f.field_names from resolver.actions f
        where b.state = 'requested' and f.account_id = b.account_id and f.quarantine_id = b.quarantine_id
            and f.id < b.id and f.state = 'unsure' and f.next_try_at is null
        order by f.id limit 1
    ) f on true
    where b.id = any(:ids)
""")


def list_ledger(connection: Connection, wanted: Wanted) -> list[Row]:
    """Held leads and actions, a row for each action or for a lead without one; what waits for a person first."""
    return [dict(row) for row in connection.execute(_LIST, asdict(wanted)).mappings()]


def find_stories(connection: Connection, given: str, account: str | None) -> list[tuple[str, list[Row], list[Row]]]:
    """The leads that an ID may mean, by queue ID or quarantine ID: (account, rows of the ledger, holds and leaves)."""
    found = connection.execute(_FIND, {"id": given, "account": account}).mappings().all()
    return [
        (
            lead["account"],
            [dict(row) for row in connection.execute(_STORY, dict(lead)).mappings()],
            [dict(row) for row in connection.execute(_HOLDS, dict(lead)).mappings()],
        )
        for lead in found
    ]


def find_state(connection: Connection, given: str, account: str | None) -> str | None:
    """The state of the lead with that queue ID; None: there is none."""
    state: str | None = connection.execute(_STATE, {"id": given, "account": account}).scalar_one_or_none()
    return state


def list_open_actions(connection: Connection, lead_id: int) -> list[Row]:
    """The actions on a lead that have not come to their end."""
    return [dict(row) for row in connection.execute(_OPEN, {"lead_id": lead_id}).mappings()]


def read_progress(connection: Connection, action_ids: Collection[int]) -> list[Row]:
    """How far these actions have come; `waits_behind`: an earlier one on the lead, which waits for a person.

    `fields` are names; `fields_before` are those of the earlier one.
    """
    return [dict(row) for row in connection.execute(_PROGRESS, {"ids": list(action_ids)}).mappings()]
