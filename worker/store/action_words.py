"""A person's word on an action, written down."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from worker.domain.actions import ActionState
from worker.store.actions import drop_fields, hurry_leads

_LOCK = text("""
    select a.state, a.lead_id, a.field_names <> '{}' and f.action_id is null as lacks_fields
    from resolver.actions a left join resolver.action_fields f on f.action_id = a.id
    where a.id = :id for update of a
""")
_RESOLVE = text("""
    update resolver.actions
    set state = :state, message = :message, token = null, held_seen_at = null,
        next_try_at = case when :state = 'requested' then cast(:now as timestamptz) end,
        attempts = case when :state = 'requested' then 0 else attempts end,
        concluded_at = case when :state <> 'requested' then cast(:now as timestamptz) end,
        done_by = case when :state = 'confirmed' then 'us' end
    where id = :id
""")
_RESOLVABLE = frozenset({ActionState.UNSURE, ActionState.ACKNOWLEDGED})


def resolve_action(
    connection: Connection, action_id: int, *, happened: bool, by: str, now: datetime
) -> tuple[str, str | None] | None:
    """The action's state now, and what was written about it; None: there is no such action, or nothing was written."""
    row = connection.execute(_LOCK, {"id": action_id}).one_or_none()
    if row is None:
        return None
    if row.state not in _RESOLVABLE:
        return row.state, None
    if happened:
        state, message = ActionState.CONFIRMED, f"it happened, says {by}"
    elif row.lacks_fields:
        state = ActionState.REFUSED
        message = f"it did not happen, says {by}; its field values are not kept any more: ask for it anew, with them"
    else:
        state, message = ActionState.REQUESTED, f"it did not happen, says {by}: sent again"
    connection.execute(_RESOLVE, {"id": action_id, "state": state, "message": message, "now": now})
    if state is not ActionState.REQUESTED:
        drop_fields(connection, [action_id])
        hurry_leads(connection, [] if row.lead_id is None else [row.lead_id], now)
    return state, message
