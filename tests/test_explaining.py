"""Why a lead is where it is, in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from worker.explaining import explain_lead, say_span
from worker.store.accounts import UNTIL_RESUMED

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LEAD: dict[str, Any] = {
    "state": "queued",
    "queue_id": "abcdefgh",
    "state_reason": None,
    "watched": True,
    "now": NOW,
    "watched_since": NOW - timedelta(minutes=3),
    "next_poll_at": NOW + timedelta(seconds=41),
    "last_poll_at": NOW - timedelta(seconds=12),
    "last_note": "LeadByte says: Queued",
    "failure_streak": 0,
    "lease_until": None,
    "paused_until": None,
    "pause_reason": None,
    "next_recheck_at": None,
    "recheck_until": None,
    "events": [],
}


def event(minutes: int, from_state: str, to_state: str, cause: str) -> dict[str, Any]:
    return {"at": NOW + timedelta(minutes=minutes), "from_state": from_state, "to_state": to_state, "cause": cause}


REGRESSED = event(2, "approved", "approved", "regressed: LeadByte says: Rejected; kept approved")
FINAL = {"state": "approved", "state_reason": "LeadByte says: Approved", "recheck_until": NOW + timedelta(days=2)}
TOLD = "Approved, as told by LeadByte: LeadByte says: Approved."
ASKED = "Last asked 12 s ago: LeadByte says: Queued."
NEXT = "Next poll in 41 s: the default schedule at the age of 3 min."

STORIES: list[tuple[dict[str, Any], str]] = [
    ({}, f"{ASKED} {NEXT}"),
    ({"last_poll_at": None}, f"Not asked yet. {NEXT}"),
    (
        {"failure_streak": 3, "last_note": "HTTP 503"},
        f"Last asked 12 s ago: HTTP 503, failure number 3 in a row. {NEXT}",
    ),
    ({"lease_until": NOW}, f"{ASKED} It is being asked about right now."),
    (
        {"paused_until": NOW + timedelta(minutes=1), "pause_reason": "LeadByte asked us to wait 60 s"},
        f"{ASKED} The account is paused until 12:01:00 UTC: LeadByte asked us to wait 60 s.",
    ),
    (
        {"paused_until": UNTIL_RESUMED, "pause_reason": "by an operator"},
        f"{ASKED} The account is paused until resumed: by an operator.",
    ),
    ({"paused_until": NOW, "pause_reason": "over"}, f"{ASKED} {NEXT}"),
    (
        {"next_poll_at": NOW - timedelta(hours=3)},
        f"{ASKED} Due for 3 h; it waits for the account's budget or for a worker.",
    ),
    ({"next_poll_at": None, "state_reason": "parked: x"}, "Nothing is scheduled: parked: x."),
    ({"watched": False, "state_reason": "odd"}, "Nothing is scheduled: odd."),
    (
        {"state": "approved", "state_reason": "LeadByte says: Approved"},
        "Approved, as told by LeadByte: LeadByte says: Approved.",
    ),
    (
        {**FINAL, "next_recheck_at": NOW + timedelta(hours=20)},
        f"{TOLD} It is looked at again in 20 h, and so on until 2026-03-03 12:00 UTC.",
    ),
    (
        {**FINAL, "next_recheck_at": NOW},
        f"{TOLD} It is looked at again as soon as the account's budget allows, and so on until 2026-03-03 12:00 UTC.",
    ),
    ({**FINAL, "next_recheck_at": NOW + timedelta(days=3)}, TOLD),
    (
        {**FINAL, "events": [event(1, "queued", "approved", "LeadByte says: Approved"), REGRESSED]},
        f"{TOLD} LeadByte has said otherwise since (2026-03-01 12:02 UTC): {REGRESSED['cause']}.",
    ),
    ({**FINAL, "events": [event(3, "returned", "approved", "LeadByte says: Approved"), REGRESSED]}, TOLD),
    ({**FINAL, "events": [event(3, "approved", "approved", "changed after final: revenue")]}, TOLD),
    (
        {"state": "abandoned", "state_reason": "no verdict within 7 days"},
        "We stopped asking: no verdict within 7 days. `lead-resolver redrive abcdefgh` asks again.",
    ),
]


@pytest.mark.parametrize(("news", "said"), STORIES)
def test_a_lead_is_explained(news: dict[str, Any], said: str) -> None:
    assert explain_lead({**LEAD, **news}) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (41.4, "41 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172_800, "2 days")],
)
def test_a_span_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert say_span(seconds) == said
