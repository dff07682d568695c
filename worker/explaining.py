"""Why a lead is where it is, in one sentence: what `show` ends with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from worker.domain.backoff import LadderSchedule
from worker.domain.lifecycle import FINAL, State
from worker.store.accounts import UNTIL_RESUMED


def explain_lead(lead: Mapping[str, Any], schedule: str = LadderSchedule.name) -> str:
    """One or two sentences, naming the schedule it is polled by, from a row of `worker.store.inquiries.read_leads`."""
    state = State(lead["state"])
    if state in FINAL:
        told = f"{state.capitalize()}, as told by LeadByte: {lead['state_reason']}."
        return f"{told}{_say_regression(lead)}{_say_recheck(lead)}"
    if state is State.ABANDONED:
        return f"We stopped asking: {lead['state_reason']}. `lead-resolver redrive {lead['queue_id']}` asks again."
    if not lead["watched"] or (lead["next_poll_at"] is None):
        return f"Nothing is scheduled: {lead['state_reason']}."
    return f"{_say_news(lead)} {_say_schedule(lead, schedule)}"


def say_span(seconds: float) -> str:
    """A duration as a person would say it: `41 s`, `7 min`, `3 h`, `2 days`."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} days"


def _say_regression(lead: Mapping[str, Any]) -> str:
    """What LeadByte has said since that a lead in this state can't become."""
    events = sorted(lead["events"], key=lambda event: event["at"])
    moved_at = max((event["at"] for event in events if event["from_state"] != event["to_state"]), default=None)
    said = [e for e in events if e["cause"].startswith("regressed: ") and (moved_at is None or e["at"] >= moved_at)]
    if not said:
        return ""
    return f" LeadByte has said otherwise since ({said[-1]['at']:%Y-%m-%d %H:%M} UTC): {said[-1]['cause']}."


def _say_recheck(lead: Mapping[str, Any]) -> str:
    if lead["next_recheck_at"] is None or lead["next_recheck_at"] > lead["recheck_until"]:
        return ""
    wait = (lead["next_recheck_at"] - lead["now"]).total_seconds()
    coming = f"in {say_span(wait)}" if wait > 0 else "as soon as the account's budget allows"
    return f" It is looked at again {coming}, and so on until {lead['recheck_until']:%Y-%m-%d %H:%M} UTC."


def _say_news(lead: Mapping[str, Any]) -> str:
    if lead["last_poll_at"] is None:
        return "Not asked yet."
    ago = say_span((lead["now"] - lead["last_poll_at"]).total_seconds())
    streak = f", failure number {lead['failure_streak']} in a row" if lead["failure_streak"] else ""
    return f"Last asked {ago} ago: {lead['last_note']}{streak}."


def say_pause(account: Mapping[str, Any]) -> str:
    """A pause with its end and its reason."""
    until: datetime = account["paused_until"]
    said = "resumed" if until >= UNTIL_RESUMED else f"{until.astimezone(UTC):%H:%M:%S} UTC"
    return f"paused until {said}: {account['pause_reason']}"


def _say_schedule(lead: Mapping[str, Any], schedule: str) -> str:
    now: datetime = lead["now"]
    if lead["lease_until"] is not None:
        return "It is being asked about right now."
    if lead["paused_until"] is not None and lead["paused_until"] > now:
        return f"The account is {say_pause(lead)}."
    seconds = (lead["next_poll_at"] - now).total_seconds()
    if seconds < 0:
        return f"Due for {say_span(-seconds)}; it waits for the account's budget or for a worker."
    age = say_span((now - lead["watched_since"]).total_seconds())
    return f"Next poll in {say_span(seconds)}: {schedule} at the age of {age}."
