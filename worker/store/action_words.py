"""A person's word on an action, written down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from worker.domain.actions import ActionState
from worker.store.actions import hurry_leads, keep_fields

_LOCK = text("""
    select a.id, c.name as account, a.kind, a.state, a.field_names, a.lead_id
    from resolver.actions a join resolver.accounts c on c.id = a.account_id
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


@dataclass(frozen=True, slots=True)
class Standing:
    """How an action stands that a person speaks about."""

    id: int
    account: str
    kind: str
    state: ActionState
    field_names: tuple[str, ...]
    lead_id: int | None


def lock_action(connection: Connection, action_id: int) -> Standing | None:
    """The action, locked until the transaction ends; None: there is none."""
    row = connection.execute(_LOCK, {"id": action_id}).one_or_none()
    if row is None:
        return None
    return Standing(row.id, row.account, row.kind, ActionState(row.state), tuple(row.field_names), row.lead_id)


def record_word(
    connection: Connection, action: Standing, state: ActionState, message: str, fields: str | None, now: datetime
) -> None:
    """Write down what a person makes of it; `fields`, as JSON, are the values to be sent."""
    connection.execute(_RESOLVE, {"id": action.id, "state": state, "message": message, "now": now})
    if fields is not None:
        keep_fields(connection, {action.id: fields})
    if state is not ActionState.REQUESTED:
        hurry_leads(connection, [] if action.lead_id is None else [action.lead_id], now)
