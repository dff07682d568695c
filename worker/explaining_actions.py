"""What happens next to an action on a held lead, and its story in order: words for people.

Neighbours: `worker.explaining` says why a lead is where it is, `worker.store.ledger` has the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.domain.actions import ActionState
from worker.explaining import say_span
from worker.store.accounts import UNTIL_RESUMED

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened to a held lead. `action`: its number, where it happened to an action."""

    at: datetime
    what: str
    said: str | None = None
    action: int | None = None


def name_action(row: Row) -> str:
    """`release (action 17)`."""
    return f"{row['action']} (action {row['action_id']})"


def say_why(row: Row) -> str | None:
    """The message without the two commands, where it ends with them."""
    message: str | None = row["message"]
    return message.partition(". Look ")[0] if message is not None and row["waits_for_person"] else message


def say_next(row: Row, now: datetime) -> str:
    """What happens next to an action, and when."""
    if row["waits_for_person"]:
        return "waits for a person, who looks in LeadByte whether it happened, and says so"
    state = ActionState(row["action_state"])
    if state is ActionState.REQUESTED:
        return _say_sending(row, now)
    wait = _say_wait(row["next_try_at"], now)
    if state is ActionState.SENT:
        return f"is being sent; if its worker is not heard of, looked up {wait}"
    if state is ActionState.ACKNOWLEDGED:
        return (
            f"LeadByte has it queued: whether it was done is looked up {wait}, until {_say_time(row['follow_until'])}"
        )
    if state is ActionState.UNSURE:
        return f"whether it happened is looked up {wait}; it is not sent again before that is known"
    return "nothing: it has come to its end"


def say_open_actions(lead: Row) -> str:
    """What is under way about a lead, to be added to the reason why it is where it is; empty: nothing is."""
    if not lead["actions"]:
        return ""
    said = (f"{name_action(row)} by {row['requested_by']} {_say_standing(row)}" for row in lead["actions"])
    return f" Acted upon: {'; '.join(said)}; `lead-resolver quarantine show {lead['queue_id']}` tells more."


def tell_story(rows: Sequence[Row], holds: Sequence[Row]) -> list[Moment]:
    """All that is known to have happened to a held lead and to the actions on it, in order."""
    told = [moment for row in rows if row["action_id"] is not None for moment in _tell_action(row)]
    return sorted([*map(_tell_hold, holds), *told], key=lambda moment: moment.at)


def _tell_hold(event: Row) -> Moment:
    if event["to_state"] == "quarantined":
        is_news = event["from_state"] != "quarantined" or event["cause"].startswith("held again")
        return Moment(event["at"], "held" if is_news else "still held", event["cause"])
    return Moment(event["at"], f"no longer held: {event['to_state']}", event["cause"])


def _tell_action(row: Row) -> Iterator[Moment]:
    state, number = ActionState(row["action_state"]), row["action_id"]
    fields = f" of {', '.join(row['fields'])}" if row["fields"] else ""
    asker = "policy" if row["by_policy"] else row["requested_by"]
    yield Moment(row["requested_at"], f"{row['action']}{fields} requested by {asker}", row["reason"], number)
    if row["sent_at"] is not None and state is not ActionState.REQUESTED:
        again = f", attempt {row['attempts']}" if row["attempts"] > 1 else ""
        yield Moment(row["sent_at"], f"{row['action']} sent{again}", None, number)
    said = {name: say_why(row) if state is name else None for name in ActionState}
    for name, at in (
        (ActionState.ACKNOWLEDGED, row["acknowledged_at"] if state is not ActionState.REQUESTED else None),
        (ActionState.UNSURE, row["unsure_at"] if state is ActionState.UNSURE else None),
        (state, row["concluded_at"]),
    ):
        # An update is acknowledged and confirmed by one answer.
        if at is not None and not (name is ActionState.ACKNOWLEDGED and at == row["concluded_at"]):
            done_by = f" (done by {row['done_by']})" if name is state and row["done_by"] else ""
            yield Moment(at, f"{row['action']} {name}{done_by}", said[name], number)


def _say_sending(row: Row, now: datetime) -> str:
    paused_until = row["paused_until"]
    if paused_until is not None and paused_until > now:
        until = "is resumed" if paused_until >= UNTIL_RESUMED else f"goes on, {_say_time(paused_until)}"
        return f"is sent when account {row['account']} {until}: {row['pause_reason']}"
    if row["next_try_at"] is not None and row["next_try_at"] > now:
        return f"is sent {_say_wait(row['next_try_at'], now)}"
    if row["message"] is not None and row["message"].startswith("waits "):
        return f"{row['message']}, and is sent then"
    return "is sent within seconds by a running worker"


def _say_standing(row: Row) -> str:
    return "waits for a person" if row["waits_for_person"] else f"is {row['action_state']}"


def _say_wait(at: datetime | None, now: datetime) -> str:
    seconds = 0.0 if at is None else (at - now).total_seconds()
    return "within seconds" if seconds < 1 else f"in {say_span(seconds)}"


def _say_time(at: datetime | None) -> str:
    return "it is known" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"
