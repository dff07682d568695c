"""Actions on held leads: their states, and what looking at a lead tells about one; pure.

An action is sent at most once for certain. What may or may not have arrived is *unsure*: it is looked up, and what
looking can't tell waits for a person. Neighbours: `worker.domain.action_answers` reads LeadByte's answers,
`worker.sending` sends and looks, `worker.store.actions` keeps the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from worker.domain.lifecycle import FINAL, State

Kind = Literal["update", "release", "reject"]
KINDS: tuple[Kind, ...] = ("update", "release", "reject")
MOST_ATTEMPTS = 5  # of one action, each but the last shown not to have happened
PLACEHOLDER = "…"  # stands for a value that a person is to fill in
PERMISSION = "Leads > Update & Quarantine Process"  # as LeadByte documents it; two ticks, one for each call

_SOONEST_LOOK, _LATEST_LOOK = timedelta(seconds=2), timedelta(minutes=1)
_LOOK_AFTER_DEADLINE = timedelta(minutes=5)


class ActionState(StrEnum):
    """How far an action has come; each value's comment says who brings it there."""

    REQUESTED = "requested"  # whoever asked: recorded, and not sent, or shown not to have happened
    SENT = "sent"  # the sender, before the first byte: from here on it may have happened
    ACKNOWLEDGED = "acknowledged"  # LeadByte's answer: queued there
    CONFIRMED = "confirmed"  # an update's answer, a look at the lead, or a person: it happened
    REFUSED = "refused"  # LeadByte's answer, or a look: it did not happen and will not
    UNSURE = "unsure"  # no usable answer, or a sender that died: looked up, never blindly sent again


class DoneBy(StrEnum):
    """Who moved the lead, where that can be told."""

    US = "us"
    SOMEBODY_ELSE = "somebody else"  # a person in LeadByte, or its auto-release
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Followed:
    """An action under way, and what is known of its lead at this moment (no lead: `lead_state` is None).

    `left_at`: when LeadByte first told that the lead had left this hold; None: it has not, or not by a reply of its
    own. `told_at`: whatever LeadByte did before it is in the lead's record as known here; None: never, or not all of it
    is read yet.
    """

    id: int
    kind: Kind
    state: ActionState
    field_names: Sequence[str]
    attempts: int
    sent_at: datetime | None
    unsure_at: datetime | None
    held_seen_at: datetime | None
    follow_until: datetime | None  # None, though acknowledged: that LeadByte never did it was reported
    message: str | None
    lead_id: int | None = None
    lead_state: State | None = None
    has_left: bool = False
    left_at: datetime | None = None
    told_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the lead makes of an action: its new state, or the old one and when to look again.

    `next_try_at` None: nothing more will happen by itself.
    """

    state: ActionState
    next_try_at: datetime | None = None
    message: str | None = None
    done_by: DoneBy | None = None
    held_seen_at: datetime | None = None

    @property
    def is_concluded(self) -> bool:
        """Whether the action has come to its end."""
        return self.state in {ActionState.CONFIRMED, ActionState.REFUSED}


def decide_look(action: Followed, now: datetime, settle: timedelta) -> Look:
    """Conclude what can be concluded; `settle` is how long LeadByte may take to show what it has done."""
    if action.has_left:
        return _look_at_left_lead(action, now)
    if action.state is ActionState.UNSURE:
        return _look_at_held_lead(action, now, settle)
    if action.state is ActionState.ACKNOWLEDGED and action.follow_until is None:
        return Look(action.state, now + _LOOK_AFTER_DEADLINE)
    if action.state is ActionState.ACKNOWLEDGED and _is_over(action, now):
        return _look_at_overdue(action, now)
    return _look_again(action, now)


def name_commands(action_id: int, field_names: Sequence[str]) -> tuple[str, str]:
    """What a person types about an action that waits for them: if it happened, and if it did not.

    Field values are dropped once sent, so to have it sent again they are typed anew.
    """
    command = f"lead-resolver quarantine resolve {action_id}"
    return f"{command} --done", " ".join([f"{command} --resend", *map(_name_change, field_names)])


def _name_change(field_name: str) -> str:
    change = f"{field_name}={PLACEHOLDER}"
    return f'--set "{change}"' if " " in change else f"--set {change}"


def _ask_person(action: Followed, why: str) -> str:
    """The message of an action that waits for a person: why, and the two commands to choose from."""
    done, resend = name_commands(action.id, action.field_names)
    return f"{why}. Look in LeadByte: if it happened, `{done}`; if not, `{resend}`"


def _look_at_left_lead(action: Followed, now: datetime) -> Look:
    was_sent = action.attempts > 0 and action.sent_at is not None
    if not was_sent:
        said = f"somebody in LeadByte acted first: the lead is {action.lead_state} now; nothing was sent"
        return Look(ActionState.REFUSED, message=said, done_by=DoneBy.SOMEBODY_ELSE)
    is_ours = action.state is ActionState.ACKNOWLEDGED
    if not is_ours and action.left_at is not None and action.sent_at is not None and action.left_at < action.sent_at:
        said = f"somebody in LeadByte acted first: the lead was {action.lead_state} before our request went out"
        return Look(ActionState.REFUSED, message=said, done_by=DoneBy.SOMEBODY_ELSE)
    if action.kind == "update":
        said = f"the lead has left quarantine ({action.lead_state}); whether it was updated before can't be told"
        return Look(ActionState.UNSURE, message=_ask_person(action, said))
    if action.kind == "reject" and action.lead_state is not State.REJECTED:
        # A rejection may pass through LeadByte's queue: only a verdict tells whose doing it was.
        if action.lead_state is State.QUEUED and not _is_over(action, now):
            return _look_again(action, now)
        said = f"the lead is {action.lead_state} now: somebody in LeadByte released it first"
        return Look(ActionState.REFUSED, message=said, done_by=DoneBy.SOMEBODY_ELSE)
    said = f"the lead is {action.lead_state} now"
    return Look(ActionState.CONFIRMED, message=said, done_by=DoneBy.US if is_ours else DoneBy.UNKNOWN)


def _look_at_held_lead(action: Followed, now: datetime, settle: timedelta) -> Look:
    why = action.message or "no usable answer"
    if action.lead_state is None:
        said = f"{why}; its lead is not known here, so whether it happened can't be looked up"
        return Look(ActionState.UNSURE, message=_ask_person(action, said))
    if action.kind == "update":
        said = f"{why}; whether fields were updated can't be seen from a lead's status"
        return Look(ActionState.UNSURE, message=_ask_person(action, said))
    if not _is_seen_held(action, settle):
        if _is_over(action, now):
            said = f"{why}; since then the lead could not be looked at"
            return Look(ActionState.UNSURE, message=_ask_person(action, said))
        return _look_again(action, now)
    if action.held_seen_at is None or action.told_at is None or action.told_at <= action.held_seen_at:
        # Once more: between the first such look and the next LeadByte had as long again.
        return Look(action.state, _next_look(action, now), held_seen_at=action.held_seen_at or action.told_at)
    if action.field_names:
        said = f"{why}; the lead is still held, but whether its fields were updated can't be told from that"
        return Look(ActionState.UNSURE, message=_ask_person(action, said))
    if action.attempts >= MOST_ATTEMPTS:
        said = f"{why}; sent {action.attempts} times by now, and the lead is still held"
        return Look(ActionState.UNSURE, message=_ask_person(action, said))
    said = f"{why}; looked up: the lead is still held, so it did not happen, and is sent again"
    return Look(ActionState.REQUESTED, now, message=said)


def _is_seen_held(action: Followed, settle: timedelta) -> bool:
    return (
        action.lead_state is State.QUARANTINED
        and action.told_at is not None
        and action.unsure_at is not None
        and action.told_at > action.unsure_at + settle
    )


def _is_over(action: Followed, now: datetime) -> bool:
    return action.follow_until is None or now >= action.follow_until


def _look_at_overdue(action: Followed, now: datetime) -> Look:
    if action.lead_state is None:
        said = "acknowledged; its lead is not known here, so what became of it can't be told"
        return Look(action.state, message=said)
    done, resend = name_commands(action.id, action.field_names)
    said = (
        f"acknowledged, and still {action.lead_state} after the follow-up: LeadByte never processed it. Look there: if "
        f"it happened, `{done}`; if not, `{resend}`"
    )
    # Looked at on, though slowly: should it happen after all, that is told.
    return Look(action.state, now + _LOOK_AFTER_DEADLINE, message=said)


def _look_again(action: Followed, now: datetime) -> Look:
    return Look(action.state, _next_look(action, now), held_seen_at=action.held_seen_at)


def _next_look(action: Followed, now: datetime) -> datetime:
    age = now - action.sent_at if action.sent_at is not None else _LATEST_LOOK
    return now + min(max(age / 4, _SOONEST_LOOK), _LATEST_LOOK)


LEFT_STATES = FINAL | {State.QUEUED, State.PENDING}  # where LeadByte takes a lead from its hold; giving up is ours
