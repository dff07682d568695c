"""Leads and their state: recording them, moving them along the lifecycle, watching them or not.

Every change of state is a compare-and-swap on the old one, with its event in the same statement: the current state is
always the fold of the events.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import Connection, text

from worker.domain.lifecycle import State
from worker.store.bulk import execute_many, list_rows, unnest


class Move(Struct, frozen=True, gc=False):
    """One lead's change of state; `from_state` equal to `to_state` records an event without a change."""

    lead_id: int
    from_state: State
    to_state: State
    cause: str
    reply_id: int | None = None
    state_reason: str | None = None
    resolved_at: datetime | None = None


MOVE_COLUMNS = {
    "lead_id": "bigint",
    "from_state": "text",
    "to_state": "text",
    "cause": "text",
    "reply_id": "bigint",
    "state_reason": "text",
    "resolved_at": "timestamptz",
}

_TRACK = text("select resolver.track_leads(:account, :queue_ids, :references, :first_poll_after, :gap)")

_MOVE = text(f"""
    with s as (select * from {unnest(MOVE_COLUMNS, "u")}),
    moved as (
        update resolver.leads l
        set state = s.to_state, state_reason = s.state_reason, resolved_at = s.resolved_at
        from s where l.id = s.lead_id and l.state = s.from_state
        returning l.id
    )
    insert into resolver.lead_events (lead_id, at, from_state, to_state, cause, reply_id)
    select s.lead_id, :at, s.from_state, s.to_state, s.cause, s.reply_id
    from s join moved on moved.id = s.lead_id
    on conflict (reply_id) do nothing
    returning lead_id
""")

_WATCH = text("""
    insert into resolver.watches (lead_id, account_id, queue_id, watched_since, next_poll_at)
    select l.id, l.account_id, l.queue_id, :now, :now + :after + cast(:gap as interval) * (given.position - 1)
    from unnest(cast(:lead_ids as bigint[])) with ordinality as given (id, position)
    join resolver.leads l using (id)
    on conflict (lead_id) do update
    set watched_since = :now, next_poll_at = excluded.next_poll_at, not_found_since = null, failure_streak = 0,
        crashes = 0, told_digest = null, open_until = null
    where watches.claim_id is null
""")


_CHOSEN = """
    join resolver.accounts a on a.id = l.account_id
    where (cast(:account as text) is null or a.name = :account)
        and (cast(:queue_ids as text[]) is null or l.queue_id = any(:queue_ids))
"""
# A union, since each half has an index of its own to go by.
_GIVEN_UP = text(f"""
    select l.id, l.state, a.name as account from resolver.leads l
    {_CHOSEN} and l.state = 'abandoned' and l.resolved_at is null
    union
    select l.id, l.state, a.name from resolver.leads l join resolver.watches w on w.lead_id = l.id
    {_CHOSEN} and w.next_poll_at is null
    order by id
""")


def track_leads(
    connection: Connection,
    account: str,
    queue_ids: Sequence[str],
    references: Sequence[str | None],
    *,
    first_poll_after: timedelta,
    gap: timedelta,
) -> set[str]:
    """Record queue IDs that passed `parse_queue_id`; returns those that were new.

    The n-th lead's first poll falls `first_poll_after` + n x `gap` from now, with jitter.
    """
    values = {
        "account": account,
        "queue_ids": list(queue_ids),
        "references": list(references),
        "first_poll_after": first_poll_after,
        "gap": gap,
    }
    return set(connection.execute(_TRACK, values).scalars())


def move_leads(connection: Connection, moves: Sequence[Move], at: datetime) -> set[int]:
    """Carry the moves out and record their events; returns the leads that still were in `from_state`."""
    if not moves:
        return set()
    return set(execute_many(connection, _MOVE, MOVE_COLUMNS, list_rows(MOVE_COLUMNS, moves), at=at).scalars())


def watch_leads(
    connection: Connection,
    lead_ids: Sequence[int],
    now: datetime,
    *,
    first_poll_after: timedelta = timedelta(0),
    gap: timedelta = timedelta(0),
) -> None:
    """Ask about these leads, `gap` apart, and start counting their age anew; a lead under poll just goes on."""
    if lead_ids:
        values = {"lead_ids": list(lead_ids), "now": now, "after": first_poll_after, "gap": gap}
        connection.execute(_WATCH, values)


def find_given_up(
    connection: Connection, account: str | None, queue_ids: Sequence[str] | None
) -> dict[str, list[tuple[int, State]]]:
    """The abandoned and parked leads among these queue IDs (None: among all), with their state, by account."""
    found: dict[str, list[tuple[int, State]]] = {}
    values = {"account": account, "queue_ids": None if queue_ids is None else list(queue_ids)}
    for row in connection.execute(_GIVEN_UP, values):
        found.setdefault(row.account, []).append((row.id, State(row.state)))
    return found
