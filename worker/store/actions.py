"""The ledger of actions as rows: asked for, claimed for sending, and what came of it, fenced by a token.

What is claimed is committed as *sent* before a byte of it is. Neighbours: `worker.store.action_looks` follows what was
sent, `worker.store.slots` says when it may be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, text

from worker.domain.action_results import Result
from worker.domain.actions import LEFT_STATES, ActionState, Kind
from worker.store.bulk import execute_many, unnest
from worker.store.leases import LEASE

Shape = Literal["update", "process", "both"]  # which call an action needs: PUT, POST, or PUT with both in one
NEEDS: Mapping[Shape, frozenset[str]] = {
    "update": frozenset({"update"}),
    "process": frozenset({"process"}),
    "both": frozenset({"update", "process"}),
}
MOST_ITEMS = 20  # leads in one PUT


@dataclass(frozen=True, slots=True)
class ClaimedAction:
    """An action that this worker alone sends. Never shows values."""

    id: int
    quarantine_id: str
    kind: Kind
    failures: int
    is_followed: bool  # its lead is known here and watched
    fields: Mapping[str, Any] | None = field(repr=False)


_REQUEST = text("""
    select given, action_id, outcome, said
    from resolver.request_actions(:account, :ids, :kind, cast(:fields as jsonb), :reason, :requested_by, :by_policy)
""")
_COMPLAIN = text(
    "select resolver.complain_about_request(:account, :kind, cast(:fields as jsonb), :reason, :requested_by)"
)

_QUARANTINE_IDS = text("select id, quarantine_id from resolver.actions where id = any(:ids)")
_LEFT = ", ".join(f"'{state}'" for state in sorted(LEFT_STATES))
# Of an action `a`: the events by which its lead left the hold that it was asked for in.
LEAVING = f"""
    e.lead_id = a.lead_id and e.id > a.since_event and e.from_state = 'quarantined'
        and (e.to_state in ({_LEFT}) or e.cause like 'held again%')
"""

_SHAPE = "case when a.kind = 'update' then 'update' when a.field_names <> '{}' then 'both' else 'process' end"
# Only what its lead's earlier actions have made way for, and only while the lead is held as it was when this was asked
# for; of a lead we gave up on nothing newer is known.
_DUE = f"""
    from resolver.actions a
    left join resolver.leads l on l.id = a.lead_id
    left join resolver.outcomes o on o.lead_id = a.lead_id
    where a.account_id = :account and a.state = 'requested' and a.next_try_at <= :now and {_SHAPE} = any(:shapes)
        and (a.lead_id is null
            or l.state in ('quarantined', 'abandoned') and o.quarantine_id = a.quarantine_id
                -- Held anew under the same ID, it is another hold, for which nobody asked.
                and not exists (select from resolver.lead_events e where {LEAVING}))
        and not exists (
            select from resolver.actions b
            where b.account_id = a.account_id and b.quarantine_id = a.quarantine_id and b.id < a.id
                and b.state in ('requested', 'sent', 'unsure'))
    order by a.next_try_at, a.id
"""
_FIRST_SHAPE = text(f"select {_SHAPE} {_DUE} limit 1")
_UNDER_WAY = text("""
    select count(distinct token) from resolver.actions
    where account_id = :account and state = 'sent' and next_try_at > :now
""")
_IN_DOUBT = text("""
    select exists (
        select from resolver.actions where account_id = :account and state = 'unsure' and unsure_at > :since)
""")
_CLAIM = text(f"""
    update resolver.actions c
    set state = 'sent', attempts = c.attempts + 1, token = :token, next_try_at = :until,
        -- The first that may have arrived: what happened since then may be our doing.
        sent_at = case when c.attempts > 0 then c.sent_at else cast(:now as timestamptz) end,
        unsure_at = null, held_seen_at = null, message = null
    from resolver.actions d left join resolver.action_fields f on f.action_id = d.id
        left join resolver.watches w on w.lead_id = d.lead_id
    where c.id = any(array(select a.id {_DUE} limit :limit for update of a skip locked)) and d.id = c.id
    returning c.id, c.quarantine_id, c.kind, c.failures, f.fields, w.lead_id is not null as is_followed
""")

_RESULT_COLUMNS = {
    "id": "bigint",
    "state": "text",
    "message": "text",
    "again_at": "timestamptz",
    "done_by": "text",
    "follow_until": "timestamptz",
    "is_unsent": "boolean",
    "failed": "boolean",
}
# The token stands until it is known what came of the request, so an answer that comes after the lease has run out, and
# made the action unsure, still counts; one that comes after a look has shown what happened does not.
_RECORD = text(f"""
    update resolver.actions a
    set state = r.state, message = r.message, next_try_at = r.again_at, done_by = r.done_by,
        follow_until = coalesce(r.follow_until, a.follow_until),
        attempts = a.attempts - r.is_unsent::int,
        sent_at = case when not r.is_unsent or a.attempts > 1 then a.sent_at end,
        failures = case when r.failed then least(a.failures + 1, 1000) else 0 end,
        token = case when r.state = 'unsure' then a.token end,
        unsure_at = case when r.state = 'unsure' then :now end,
        acknowledged_at = case when r.state = 'acknowledged' or r.state = 'confirmed' then :now end,
        concluded_at = case when r.state in ('confirmed', 'refused') then :now end
    from {unnest(_RESULT_COLUMNS, "r")}
    where a.id = r.id and a.token = :token and a.state in ('sent', 'unsure')
    returning a.id, a.state, a.lead_id
""")
_FIELD_COLUMNS = {"action_id": "bigint", "fields": "text"}
_KEEP_FIELDS = text(f"""
    insert into resolver.action_fields (action_id, fields)
    select k.action_id, k.fields::jsonb from {unnest(_FIELD_COLUMNS, "k")}
    on conflict (action_id) do nothing
""")
# Looked at soon, and its age counts anew; a lead that is just being asked about is when that is settled.
_HURRY = text("""
    update resolver.watches set hurry_since = :now, watched_since = :now,
        next_poll_at = case when claim_id is null then least(next_poll_at, :soon) else next_poll_at end
    where lead_id = any(:lead_ids) and (next_poll_at is not null or claim_id is not null)
""")


def request_actions(
    connection: Connection,
    account: str,
    ids: Sequence[str],
    kind: str,
    *,
    fields: str | None,
    reason: str | None,
    requested_by: str,
    by_policy: bool,
) -> tuple[str | None, Sequence[Any]]:
    """Record what is asked for, `fields` as JSON: (what is wrong with it as a whole, a row for each distinct ID).

    Rows have `given`, `action_id`, `outcome` (requested, already requested, refused) and `said`.
    """
    values = {"account": account, "kind": kind, "fields": fields, "reason": reason, "requested_by": requested_by}
    complaint = complain_about_request(
        connection, account, kind, fields=fields, reason=reason, requested_by=requested_by
    )
    if complaint is not None:
        return complaint, []
    return None, connection.execute(_REQUEST, {**values, "ids": list(ids), "by_policy": by_policy}).all()


def complain_about_request(
    connection: Connection, account: str, kind: str, *, fields: str | None, reason: str | None, requested_by: str
) -> str | None:
    """What is wrong with a request, whatever the lead; quotes no value."""
    values = {"account": account, "kind": kind, "fields": fields, "reason": reason, "requested_by": requested_by}
    complaint: str | None = connection.execute(_COMPLAIN, values).scalar_one()
    return complaint


def read_quarantine_ids(connection: Connection, action_ids: Collection[int]) -> dict[int | None, str]:
    """The quarantine ID that each action is about."""
    rows = connection.execute(_QUARANTINE_IDS, {"ids": list(action_ids)}) if action_ids else ()
    return {row.id: row.quarantine_id for row in rows}


def find_sendable(connection: Connection, account_id: int, closed: Collection[str], now: datetime) -> Shape | None:
    """The shape of the action to be sent next, of those that need none of the closed calls."""
    shapes = [shape for shape, needs in NEEDS.items() if not needs & set(closed)]
    values = {"account": account_id, "now": now, "shapes": shapes}
    shape: Shape | None = connection.execute(_FIRST_SHAPE, values).scalar_one_or_none()
    return shape


def count_under_way(connection: Connection, account_id: int, now: datetime) -> int:
    """How many requests about the account's actions are being made."""
    return int(connection.execute(_UNDER_WAY, {"account": account_id, "now": now}).scalar_one())


def is_in_doubt(connection: Connection, account_id: int, since: datetime) -> bool:
    """Whether a request since then is without a usable answer."""
    return bool(connection.execute(_IN_DOUBT, {"account": account_id, "since": since}).scalar_one())


def claim_actions(
    connection: Connection, account_id: int, shape: Shape, token: int, now: datetime, lease: timedelta, limit: int
) -> list[ClaimedAction]:
    """Mark the next actions of that shape as sent, as many as fit one request; to be committed before it is made."""
    values = {"account": account_id, "shapes": [shape], "token": token, "now": now, "until": now + lease}
    rows = connection.execute(_CLAIM, {**values, "limit": limit}).all()
    claimed = [
        ClaimedAction(row.id, row.quarantine_id, row.kind, row.failures, row.is_followed, row.fields) for row in rows
    ]
    return sorted(claimed, key=lambda action: action.id)


def record_results(
    connection: Connection, token: int, results: Sequence[Result], fields: Mapping[int, str], now: datetime
) -> dict[int, str]:
    """Write down what came of a request, where it is still ours; the new state of each action that was.

    `fields`, as JSON by action: kept where they still have to be sent, though the lease may have run out meanwhile and
    the database have dropped them. Leads of what LeadByte may be at work on are looked at soon.
    """
    if not results:
        return {}
    rows = execute_many(
        connection, _RECORD, _RESULT_COLUMNS, [astuple(result) for result in results], token=token, now=now
    ).all()
    unsent = [row.id for row in rows if row.state == ActionState.REQUESTED]
    keep_fields(connection, {action: fields[action] for action in unsent if action in fields})
    hurried = {ActionState.ACKNOWLEDGED, ActionState.UNSURE}
    hurry_leads(connection, [row.lead_id for row in rows if row.state in hurried and row.lead_id is not None], now)
    return {row.id: row.state for row in rows}


def keep_fields(connection: Connection, fields: Mapping[int, str]) -> None:
    """Keep field values, as JSON by action, of actions that are requested; the database drops them once sent."""
    if fields:
        execute_many(connection, _KEEP_FIELDS, _FIELD_COLUMNS, list(fields.items()))


def hurry_leads(connection: Connection, lead_ids: Iterable[int], now: datetime) -> None:
    """Look at these leads soon, and often for a while."""
    if ids := sorted(set(lead_ids)):
        connection.execute(_HURRY, {"lead_ids": ids, "now": now, "soon": now + timedelta(seconds=2)})


SEND_LEASE = LEASE  # beside the wait for the moment to send at: covers the sending, LeadByte's answer and its recording
