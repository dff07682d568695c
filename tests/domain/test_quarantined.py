"""Held leads: in whichever word LeadByte says it, and wherever the quarantine ID stands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.domain.classify import Meaning, Reading, classify_reply
from worker.domain.lifecycle import State
from worker.leadbyte.wire import decode_body, decode_text, prepare_for_journal

QUEUE_ID = "ac1e0206-12eaee18-63765b37-471b-f60cd31d"
HELD = "2932682"


def read(status: object, response: object, root: dict[str, Any] | None = None, **more: object) -> Reading:
    """The reading of a record, which must be the same from the journal."""
    record = {"queueId": QUEUE_ID, "status": status, "response": response, **more}
    decoded = decode_body(json.dumps({"status": "Success", "records": [record], **(root or {})}).encode())
    reading = classify_reply(QUEUE_ID, 200, decoded.document, decoded.text)
    kept = decode_text(prepare_for_journal(decoded, keep_lead_data=False)[0])
    assert classify_reply(QUEUE_ID, 200, kept.document, kept.text) == reading
    return reading


@pytest.mark.parametrize(
    "word",
    ["Quarantined", "QUARANTINE", "In Quarantine", "in_quarantine", "InQuarantine", "Held in quarantine",
     "Quarantined - pending", "Lead quarantined", "quarantine-hold"],
)  # fmt: skip
@pytest.mark.parametrize("response", [None, {}, {"quarantineId": HELD}, {"quarantineId": int(HELD)}])
def test_a_word_with_quarantine_in_it_says_that_the_lead_is_held(word: str, response: dict[str, Any] | None) -> None:
    reading = read(word, response)
    assert (reading.meaning, reading.state) == (Meaning.TOLD, State.QUARANTINED)
    assert reading.facts.quarantine_id == (HELD if response else None)


@pytest.mark.parametrize(
    "word",
    ["Released from quarantine", "Not quarantined", "Quarantine released", "Quarantine rejected", "Unquarantined",
     "No longer in quarantine", "Removed from Quarantine", "non-quarantined"],
)  # fmt: skip
def test_a_word_that_says_it_is_over_is_for_a_person_to_read(word: str) -> None:
    reading = read(word, {"quarantineId": HELD})
    assert (reading.meaning, reading.state, reading.unknown_word) == (Meaning.UNKNOWN_STATUS, None, word)


@pytest.mark.parametrize("word", ["On Hold", "Held", "under_review", "Review", "Pending", "Processed", None])
def test_a_quarantine_id_says_what_an_uncertain_word_does_not(word: str | None) -> None:
    held = read(word, {"quarantineId": HELD, "code": None, "leadId": None})
    assert (held.meaning, held.state, held.facts.quarantine_id) == (Meaning.TOLD, State.QUARANTINED, HELD)
    assert held.facts.campaign_accepted is None
    assert read(word, {}).state is not State.QUARANTINED
    accepted = read(word, {"quarantineId": HELD, "code": 1, "leadId": 7})
    assert accepted.state is not State.QUARANTINED


@pytest.mark.parametrize(
    ("word", "state"), [("Queued", State.QUEUED), ("Approved", State.APPROVED), ("Rejected", State.REJECTED)]
)
def test_the_id_of_a_past_hold_outweighs_no_clear_word(word: str, state: State) -> None:
    reading = read(word, {"quarantineId": HELD, "code": 1})
    assert (reading.state, reading.facts.quarantine_id) == (state, HELD)


def test_a_refusal_beside_a_quarantine_id_is_no_hold() -> None:
    assert read(None, {"quarantineId": HELD, "code": -5}).state is None
    assert read("Processed", {"quarantineId": HELD, "code": -5}).state is State.REJECTED


PLACES: list[dict[str, Any]] = [
    {"more": {"quarantineId": HELD}},
    {"more": {"quarantine_id": int(HELD)}},
    {"more": {"quarantine": {"id": HELD}}},
    {"more": {"quarantine": {HELD: {"reason": "postcode"}}}},
    {"more": {"quarantine": int(HELD)}},
    {"more": {"quarantineDetails": {"id": HELD, "reason": "postcode"}}},
    {"more": {"quarantine_lead_id": HELD}},
    {"more": {"leads": [{"quarantineId": HELD}]}},
    {"more": {"lead": {"quarantineId": HELD, "email": "someone@example.org"}}},
    {"more": {"campaign": {"id": 565, "quarantineId": HELD}}},
    {"response": {"quarantineRef": HELD}},
    {"response": {"info": {"quarantineId": HELD}}},
    {"response": {"info": [{"quarantineId": HELD}]}},
    {"response": {"info": f"Quarantine ID: {HELD}"}},
    {"response": {"info": {"details": {"quarantine": {"id": HELD}}}}},
    {"response": {"response": f"Quarantined (ID {HELD})"}},
    {"response": {"message": f"Held as quarantine #{HELD}"}},
    {"response": f"Quarantine ID '{HELD}' queued for processing"},
    {"root": {"quarantineId": HELD}},
    {"root": {"quarantine": {"quarantineId": HELD}}},
    {"root": {"message": f"Lead held, quarantine reference {HELD}"}},
    {"status": {"name": "Quarantined", "quarantineId": HELD}},
]


@pytest.mark.parametrize("place", PLACES, ids=repr)
def test_the_quarantine_id_of_a_held_lead_is_found_wherever_it_stands(place: dict[str, Any]) -> None:
    status = place.get("status", "Quarantined")
    reading = read(status, place.get("response"), place.get("root"), **place.get("more", {}))
    assert (reading.state, reading.facts.quarantine_id) == (State.QUARANTINED, HELD)


@pytest.mark.parametrize(
    "response",
    [
        {"info": "Quarantined 12 minutes ago"},
        {"info": "Quarantine: postcode 2932682"},
        {"info": [{"quarantineId": HELD}, {"quarantineId": "2932683"}]},
        {"quarantine": True},
        {"quarantine": "1"},
        {"quarantineId": "-"},
        {"quarantineId": "{quarantineId}"},
        {"quarantineIds": [HELD, "2932683"]},
    ],
    ids=repr,
)
def test_no_number_is_taken_for_a_quarantine_id_that_is_not_called_so(response: dict[str, Any]) -> None:
    reading = read("Quarantined", response)
    assert (reading.state, reading.facts.quarantine_id) == (State.QUARANTINED, None)


def test_no_lead_data_is_kept_with_the_quarantine_id_in_it() -> None:
    lead = {"quarantineId": HELD, "email": "someone@example.org"}
    body = json.dumps({"records": [{"queueId": QUEUE_ID, "status": "Quarantined", "lead": lead}]})
    kept, cut = prepare_for_journal(decode_body(body.encode()), keep_lead_data=False)
    assert cut == "lead data"
    assert "someone" not in kept
