"""What polling tells of an ordinary verdict at a glance is what the careful reader says of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.classify import classify_reply
from worker.domain.lifecycle import State
from worker.domain.triage import triage_reply

QUEUE_ID = "ac1e0206-12eaee18-63765b37-471b-f60cd31d"
VERDICT: dict[str, Any] = {
    "status": "Success",
    "code": 1,
    "message": "OK",
    "records": [
        {
            "queueId": QUEUE_ID,
            "status": "Approved",
            "processed": "2022-11-17T16:03:04Z",
            "response": {"code": 1, "response": "OK", "info": [], "leadId": 7, "rejectionId": None, "payout": "2.00"},
        }
    ],
}

odd = st.sampled_from(
    [None, "", "-", "Pending", "pending", "0", 0, 1, -2, True, [], {}, "Rejected", "Quarantined", "Queued", "401",
     "Success", "Error", "Not Found", {"status": "Sold"}, ["Approved"], "Unauthorized", 12.5, "1e3", "١٢"]
)  # fmt: skip
names = st.sampled_from(
    ["status", "code", "message", "records", "results", "queueId", "queueRef", "processed", "response", "payout",
     "leadId", "rejectionId", "buyers", "deliveries", "errors", "error", "Status", "queue_id", "sold", "lead", "info"]
)  # fmt: skip
places = st.sampled_from(["root", "record", "response"])
changes = st.lists(st.tuples(places, names, odd | st.just("(gone)")), max_size=4)


def change(verdict: dict[str, Any], place: str, name: str, value: Any) -> None:
    record = next(iter(verdict.get("records") or []), None) if isinstance(verdict.get("records"), list) else None
    response = record.get("response") if isinstance(record, dict) else None
    block = {"root": verdict, "record": record, "response": response}[place]
    if isinstance(block, dict):
        if value == "(gone)":
            block.pop(name, None)
        else:
            block[name] = value


@given(changes, st.sampled_from(["Approved", "Rejected", "Returned", "Pending"]), st.sampled_from([200, 200, 202, 404]))
def test_what_is_told_at_a_glance_is_what_the_careful_reader_says(
    steps: list[tuple[str, str, Any]], word: str, http_status: int
) -> None:
    verdict = copy.deepcopy(VERDICT)
    verdict["records"][0]["status"] = word
    for place, name, value in steps:
        change(verdict, place, name, value)
    glance = triage_reply(QUEUE_ID, http_status, verdict)
    if glance is not None:
        careful = classify_reply(QUEUE_ID, http_status, verdict)
        assert (glance.meaning, glance.state, glance.reason) == (careful.meaning, careful.state, careful.reason)


@pytest.mark.parametrize(
    ("word", "state"), [("Approved", State.APPROVED), ("Rejected", State.REJECTED), ("Returned", State.RETURNED)]
)
def test_the_published_verdicts_are_told_at_a_glance(word: str, state: State) -> None:
    verdict = copy.deepcopy(VERDICT)
    verdict["records"][0]["status"] = word
    glance = triage_reply(QUEUE_ID, 200, verdict)
    assert glance is not None
    assert glance.state is state


@pytest.mark.parametrize("payout", ["Pending", "pending", "-", "", True, {}])
def test_a_verdict_without_a_settled_payout_is_read_with_care(payout: Any) -> None:
    verdict = copy.deepcopy(VERDICT)
    verdict["records"][0]["response"]["payout"] = payout
    assert triage_reply(QUEUE_ID, 200, verdict) is None


def test_a_record_of_another_lead_is_no_verdict_of_ours() -> None:
    assert triage_reply("another-queue-id", 200, VERDICT) is None
