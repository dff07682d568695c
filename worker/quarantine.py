"""Asking for actions on held leads, and a person's word on those that nobody can tell about.

What is asked for is a row in Postgres before anything is sent; asking twice is one action. The law of it is the
database's function `resolver.request_actions`, which SQL's `request_quarantine_action` goes through as well.
Neighbour: `worker.sending` sends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Engine

from worker.domain.actions import ActionState, name_commands
from worker.errors import NotFoundError, UsageError
from worker.leadbyte.wire import make_storable
from worker.store.action_words import Standing, lock_action, record_word
from worker.store.actions import complain_about_request, read_quarantine_ids
from worker.store.actions import request_actions as record_requests
from worker.store.db import read_clock, transaction

BATCH = 500  # IDs in one transaction
_MOST_DIGITS = 40

FieldValue = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Requested:
    """What became of one ID: `outcome`, and `said` in one line for people.

    `action_id`, and the `quarantine_id` that the action is about, are None where it was refused.
    """

    id: str
    action_id: int | None
    outcome: Literal["requested", "already requested", "refused"]
    said: str
    quarantine_id: str | None = None

    @property
    def is_unknown(self) -> bool:
        """Refused, and not for what it is: no such lead is known here."""
        return self.outcome == "refused" and self.said.startswith("no lead of account ")


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a person's word made of an action."""

    action_id: int
    state: ActionState
    message: str


def request_actions(
    engine: Engine,
    account: str,
    action: str,
    ids: Sequence[str],
    *,
    requested_by: str,
    fields: Mapping[str, FieldValue] | None = None,
    reason: str | None = None,
    by_policy: bool = False,
    only_try: bool = False,
) -> list[Requested]:
    """Ask for `update`, `release` or `reject` of held leads, each by its queue ID or quarantine ID; batch by batch.

    Args:
        engine: Postgres.
        account: LeadByte account the leads are of.
        action: what is to be done; an update needs `fields`, a release or rejection may have some.
        ids: any number; one given twice counts once.
        requested_by: who asks, in plain characters.
        fields: new values by name: lead data. Dropped once sent.
        reason: why, in one line.
        by_policy: a rule of ours asks, not a person.
        only_try: say what would come of it, and record nothing.

    Raises:
        UsageError: what is asked for is wrong as a whole, and nothing was recorded. Its text quotes no value.
        DatabaseUnavailable: the current batch was not recorded (or its confirmation was lost: asking again is safe).
    """
    written = None if fields is None else _write_fields(fields)
    # Postgres' text has no place for some characters; with another in its place the ID is refused as it should be.
    given = sorted({make_storable(id_) for id_ in ids})
    done: list[Requested] = []
    for start in range(0, max(len(given), 1), BATCH):
        with transaction(engine, keep=not only_try) as connection:
            complaint, rows = record_requests(
                connection,
                make_storable(account),
                given[start : start + BATCH],
                make_storable(action),
                fields=written,
                reason=None if reason is None else make_storable(reason),
                requested_by=make_storable(requested_by),
                by_policy=by_policy,
            )
            held = read_quarantine_ids(connection, [row.action_id for row in rows if row.action_id is not None])
        if complaint is not None:
            raise UsageError(f"quarantine {action[:20]!a}: {complaint}; nothing was requested")
        done += [Requested(row.given, row.action_id, row.outcome, row.said, held.get(row.action_id)) for row in rows]
    return done


def _write_fields(fields: Mapping[str, FieldValue]) -> str:
    """As JSON that Postgres can read: were it to refuse some, its words would quote it."""
    for name, value in fields.items():
        if make_storable(str(name)) != str(name):
            raise UsageError("the name of a field holds a character that is none")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and len(_write_number(value)) > _MOST_DIGITS:
            raise UsageError(f"the value of field {make_storable(str(name))[:80]!a} is no number of up to 40 digits")
        if not isinstance(value, str | int | float | bool):
            raise UsageError(f"the value of field {make_storable(str(name))[:80]!a} is neither text, number nor flag")
        if isinstance(value, str) and make_storable(value) != value:
            raise UsageError(f"the value of field {make_storable(str(name))[:80]!a} holds a character that is none")
    try:
        return make_storable(json.dumps({str(name): value for name, value in fields.items()}, allow_nan=False))
    except ValueError:
        raise UsageError("the value of a field is no number") from None


def _write_number(value: FieldValue) -> str:
    try:
        return str(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "9" * (_MOST_DIGITS + 1)


def resolve(
    engine: Engine,
    action_id: int,
    *,
    happened: bool,
    by: str,
    fields: Mapping[str, FieldValue] | None = None,
    withdraw: bool = False,
) -> Resolved:
    """Take a person's word on an action that is unsure, or acknowledged and never done, or not wanted any more.

    Args:
        engine: Postgres.
        action_id: the action.
        happened: it is confirmed; if it did not happen, it is sent again.
        by: who says so, in plain characters.
        fields: to have it sent again, its field values anew, for exactly the names it has: they were dropped once sent.
        withdraw: it did not happen, and is not to be sent again; or it is requested, and is not to be sent at all.

    Raises:
        NotFoundError: there is no such action.
        UsageError: its state needs no word of a person, or the field values are not those it takes; nothing was
            changed. Its text quotes no value.
    """
    name = make_storable(by).strip()[:200]
    if not name.isprintable() or not name:
        raise UsageError("who says so is not told in plain characters")
    if happened and withdraw:
        raise UsageError(f"action {action_id} either happened or is withdrawn")
    state, message = _judge_word(name, happened=happened, withdraw=withdraw)
    with transaction(engine) as connection:
        action = _find_resolvable(connection, action_id, withdraw=withdraw)
        if state is ActionState.REQUESTED:
            _check_names(action, fields)
        elif fields:
            raise UsageError(f"action {action_id}: field values are only for sending it again; nothing was changed")
        written = _write_fields(fields) if fields else None
        _check_values(connection, action, written, name)
        record_word(connection, action, state, message, written, read_clock(connection))
    return Resolved(action_id, state, message)


_RESOLVABLE = frozenset({ActionState.UNSURE, ActionState.ACKNOWLEDGED})


def _judge_word(by: str, *, happened: bool, withdraw: bool) -> tuple[ActionState, str]:
    if happened:
        return ActionState.CONFIRMED, f"it happened, says {by}"
    if withdraw:
        return ActionState.REFUSED, f"it did not happen, says {by}, and is withdrawn"
    return ActionState.REQUESTED, f"it did not happen, says {by}: sent again"


def _find_resolvable(connection: Connection, action_id: int, *, withdraw: bool) -> Standing:
    action = lock_action(connection, action_id)
    if action is None:
        raise NotFoundError(f"there is no action {action_id}; the view reporting.quarantine lists them")
    if action.state not in _RESOLVABLE and not (withdraw and action.state is ActionState.REQUESTED):
        raise UsageError(f"action {action_id} is {action.state}: only unsure and acknowledged ones can be resolved")
    return action


def _check_names(action: Standing, fields: Mapping[str, FieldValue] | None) -> None:
    """Whether values are given for the fields that the action is about, all of them and no others."""
    if set(fields or ()) == set(action.field_names):
        return
    if not action.field_names:
        raise UsageError(f"action {action.id} changes no fields, so it takes no values; nothing was changed")
    _, command = name_commands(action.id, action.field_names)
    said = f"action {action.id} is about {', '.join(action.field_names)}, whose values were dropped once sent"
    raise UsageError(f"{said}: give just these anew, `{command}`; nothing was changed")


def _check_values(connection: Connection, action: Standing, fields: str | None, by: str) -> None:
    if fields is None:
        return
    complaint = complain_about_request(
        connection, action.account, action.kind, fields=fields, reason=None, requested_by=by
    )
    if complaint is not None:
        raise UsageError(f"action {action.id}: {complaint}; nothing was changed")
