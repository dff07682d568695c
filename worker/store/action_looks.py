"""Following what was sent: which actions are due for a look, what is known of their leads, and the conclusions.

Neighbours: `worker.domain.actions` decides, `worker.store.actions` sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from worker.domain.actions import LEFT_STATES, ActionState, Followed, Look
from worker.domain.lifecycle import State
from worker.store.actions import LEAVING, hurry_leads
from worker.store.bulk import execute_many, unnest


@dataclass(frozen=True, slots=True)
class Lost:
    """An action whose sender was not heard of again."""

    id: int
    account: str


_ACCOUNTS_DUE = text("""
    select a.name from resolver.accounts a where exists (
        select from resolver.actions b
        where b.account_id = a.id and b.state = 'requested' and b.next_try_at <= :now)
""")
_IS_ANY_DUE = text("select exists (select from resolver.actions where next_try_at <= :now)")

_EXPIRE = text("""
    update resolver.actions a set state = 'unsure', unsure_at = :now, next_try_at = :now, message = :message,
        follow_until = :follow_until
    from resolver.accounts c
    where a.id = any(array(
        select id from resolver.actions where next_try_at <= :now and state = 'sent' limit 500 for update skip locked
    )) and c.id = a.account_id
    returning a.id, c.name as account, a.lead_id
""")
# A quarantine ID that was of no known lead may have become one's since.
_ADOPT = text("""
    update resolver.actions a set lead_id = l.id, since_event = coalesce(
        (select max(e.id) from resolver.lead_events e where e.lead_id = l.id and e.at < a.requested_at), 0)
    from resolver.outcomes o join resolver.leads l on l.id = o.lead_id
    where a.next_try_at <= :now and a.lead_id is null and a.state in ('requested', 'unsure', 'acknowledged')
        and o.quarantine_id = a.quarantine_id and l.account_id = a.account_id
""")
_DUE = text(f"""
    select a.id, a.kind, a.state, a.field_names, a.attempts, a.sent_at, a.unsure_at,
        a.held_seen_at, a.follow_until, a.message, a.lead_id, l.state as lead_state,
        o.quarantine_id <> a.quarantine_id as is_held_anew, e.at as left_at,
        case when not exists (select from resolver.unpersisted u where u.lead_id = a.lead_id) then w.last_told_at end
            as told_at
    from resolver.actions a
    left join resolver.leads l on l.id = a.lead_id
    left join resolver.outcomes o on o.lead_id = a.lead_id
    left join resolver.watches w on w.lead_id = a.lead_id
    left join lateral (
        select coalesce(r.received_at, e.at) as at
        from resolver.lead_events e left join resolver.replies r on r.id = e.reply_id
        where {LEAVING}
        order by e.id limit 1
    ) e on true
    where a.next_try_at <= :now and (a.state in ('unsure', 'acknowledged')
        or a.state = 'requested' and (l.state not in ('quarantined', 'abandoned')
            or o.quarantine_id <> a.quarantine_id or e.at is not null))
    order by a.next_try_at limit 500 for update of a skip locked
""")
_LOOK_COLUMNS = {
    "id": "bigint",
    "state": "text",
    "next_try_at": "timestamptz",
    "message": "text",
    "done_by": "text",
    "held_seen_at": "timestamptz",
}
_CONCLUDE = text(f"""
    update resolver.actions a
    set state = s.state, next_try_at = s.next_try_at, message = coalesce(s.message, a.message), done_by = s.done_by,
        held_seen_at = s.held_seen_at,
        -- What is overdue is reported once.
        follow_until = case when s.state <> 'acknowledged' or s.message is null then a.follow_until end,
        token = case when s.state = 'unsure' then a.token end,
        concluded_at = case when s.state in ('confirmed', 'refused') then :now end
    from {unnest(_LOOK_COLUMNS, "s")} where a.id = s.id
""")
# The lead goes on its way, and its age counts from here; or there is nothing to hurry for any more.
_CALM_DOWN = text("""
    update resolver.watches w set hurry_since = null,
        watched_since = case when l.state in ('queued', 'pending') then :now else w.watched_since end,
        next_poll_at = case when l.state in ('queued', 'pending') and w.claim_id is null
            then least(w.next_poll_at, :soon) else w.next_poll_at end
    from resolver.leads l
    where w.lead_id = any(:lead_ids) and l.id = w.lead_id and w.hurry_since is not null and not exists (
        select from resolver.actions a
        where a.lead_id = w.lead_id and a.state in ('unsure', 'acknowledged') and a.next_try_at is not null
            and a.follow_until > :now)
""")


def is_any_due(connection: Connection, now: datetime) -> bool:
    """Whether there is anything to send, to take back or to look at."""
    return bool(connection.execute(_IS_ANY_DUE, {"now": now}).scalar_one())


def list_accounts_to_send(connection: Connection, now: datetime) -> list[str]:
    """The accounts with actions that wait to be sent."""
    return list(connection.execute(_ACCOUNTS_DUE, {"now": now}).scalars())


def expire_sent(connection: Connection, now: datetime, follow: timedelta) -> list[Lost]:
    """Make unsure what its sender has not reported on in time: it may have died before, amid or after the request."""
    said = "the worker that was sending this was not heard of again"
    values = {"now": now, "message": said, "follow_until": now + follow}
    rows = connection.execute(_EXPIRE, values).all()
    hurry_leads(connection, [row.lead_id for row in rows if row.lead_id is not None], now)
    return [Lost(row.id, row.account) for row in rows]


def list_due_looks(connection: Connection, now: datetime) -> list[Followed]:
    """Lock the actions that are due for a look, with what is known of their leads; at most 500."""
    connection.execute(_ADOPT, {"now": now})
    return [
        Followed(
            row.id, row.kind, ActionState(row.state), row.field_names, row.attempts, row.sent_at, row.unsure_at,
            row.held_seen_at, row.follow_until, row.message, row.lead_id,
            None if row.lead_state is None else State(row.lead_state), _has_left(row), row.left_at, row.told_at,
        )
        for row in connection.execute(_DUE, {"now": now})
    ]  # fmt: skip


def _has_left(row: Any) -> bool:  # noqa: ANN401 - of _DUE
    if row.lead_state is None:
        return False
    # Redriving an abandoned lead makes it queued as well: that alone says nothing.
    return row.left_at is not None or bool(row.is_held_anew) or row.lead_state in LEFT_STATES - {State.QUEUED}


def record_looks(connection: Connection, looks: Sequence[tuple[Followed, Look]], now: datetime) -> None:
    """Write down what was concluded, and let calm return to the leads."""
    if not looks:
        return
    rows = [
        (action.id, look.state, look.next_try_at, look.message, look.done_by, look.held_seen_at)
        for action, look in looks
    ]
    execute_many(connection, _CONCLUDE, _LOOK_COLUMNS, rows, now=now)
    settled = {action.lead_id for action, look in looks if look.message is not None and action.lead_id is not None}
    calm_leads(connection, settled, now)


def calm_leads(connection: Connection, lead_ids: set[int], now: datetime) -> None:
    """End the hurry for leads that no action needs a look at any more."""
    if lead_ids:
        values = {"lead_ids": sorted(lead_ids), "now": now, "soon": now + timedelta(seconds=2)}
        connection.execute(_CALM_DOWN, values)
