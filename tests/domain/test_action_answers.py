"""What an answer to an action means: documented words alone say done or queued, words of denial alone refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.action_answers import Outcome, Way, read_post_answer, read_put_answer
from worker.domain.action_results import hide_values

OK = {"status": "Success", "message": "OK"}
DONE = {"quarantineId": "17", "success": True, "message": "Quarantine lead updated"}
BAD = {"quarantineId": "17", "success": False, "message": "postcode is not valid"}
QUEUED = "Quarantine ID '17' queued for processing"
ERROR = {"status": "Error", "message": "Quarantined lead not found"}


def put(way: Way | None, document: Any, status: int = 200, text: str = "") -> Outcome:
    return read_put_answer({"17": way}, status, document, text)["17"].outcome


def post(document: Any, status: int = 200, way: Way = "process") -> Outcome:
    return read_post_answer("17", way, status, document).outcome


@pytest.mark.parametrize(
    ("way", "document", "outcome"),
    [
        (None, {**OK, "leads": [DONE]}, "done"),
        (None, {**OK, "leads": [{**DONE, "quarantineId": 17}]}, "done"),
        (None, {**OK, "leads": [{**DONE, "success": "1"}]}, "done"),
        (None, {**OK, "leads": DONE}, "done"),
        (None, {**OK, "leads": [BAD]}, "refused"),
        (None, {**ERROR, "leads": [BAD]}, "refused"),
        (None, {**OK, "leads": [{**BAD, "message": "API key lacks permission"}]}, "forbidden"),
        ("process", {**OK, "leads": [DONE], "quaratineReleaseResults": [QUEUED]}, "queued"),
        ("process", {**OK, "leads": [DONE], "quarantineReleaseResults": [QUEUED]}, "queued"),
        ("process", {**OK, "leads": [DONE], "quaratineReleaseResults": QUEUED}, "queued"),
        ("process", {**OK, "leads": [BAD], "quaratineReleaseResults": []}, "refused"),
        ("process", {**OK, "leads": [DONE], "quaratineReleaseResults": ["Quarantine ID '17' not found"]}, "refused"),
        # Whatever is missing, another's, or contradicts itself.
        (None, {**OK, "leads": []}, "unclear"),
        (None, {**OK, "leads": [{**DONE, "quarantineId": "18"}]}, "unclear"),
        (None, {**OK, "leads": [DONE, BAD]}, "unclear"),
        (None, {**OK, "leads": [{"quarantineId": "17"}]}, "unclear"),
        (None, {**ERROR, "leads": [DONE]}, "unclear"),
        ("process", {**OK, "leads": [DONE]}, "unclear"),
        ("process", {**OK, "leads": [BAD], "quaratineReleaseResults": [QUEUED]}, "unclear"),
        ("reject", {**OK, "leads": [DONE], "quaratineReleaseResults": [QUEUED]}, "unclear"),
        ("process", {**OK, "leads": [DONE], "quaratineReleaseResults": [QUEUED.replace("17", "170")]}, "unclear"),
        ("process", {**OK, "leads": [DONE], "quaratineReleaseResults": ["Quarantine ID '17' is on fire"]}, "unclear"),
        ("process", {**OK, "leads": [DONE], "quaratineReleaseResults": [QUEUED, "ID 17 on fire"]}, "unclear"),
        (None, OK, "unclear"),
        (None, ERROR, "refused"),
    ],
)
def test_an_answer_to_put_is_read_item_by_item(way: Way | None, document: Any, outcome: str) -> None:
    assert put(way, document) == outcome


@pytest.mark.parametrize(
    ("document", "outcome"),
    [
        ({**OK, "details": {"17": "Queued for processing"}}, "queued"),
        ({**OK, "details": {"17": "queued for processing."}}, "queued"),
        ({**OK, "details": ["Quarantine ID '17' queued for processing"]}, "queued"),
        ({**OK, "details": {"17": "Not found in quarantine"}}, "refused"),
        ({**OK, "details": {"17": "Not queued for processing"}}, "refused"),
        ({**ERROR, "details": {"17": "Gone"}}, "refused"),
        (ERROR, "refused"),
        ({"status": "Error"}, "unclear"),
        ({**OK, "details": {"17": "Not processed: internal error"}}, "unclear"),
        ({"status": "Error", "message": "Too many requests"}, "throttled"),
        ({"status": "Error", "message": "You do not have permission to process leads"}, "forbidden"),
        ({**OK, "details": {"17": "Queued for rejection"}}, "unclear"),
        ({**ERROR, "details": {"17": "Queued for processing"}}, "unclear"),
        ({**OK, "details": {"18": "Queued for processing"}}, "unclear"),
        ({**OK, "details": {"17": "Gone"}}, "unclear"),
        ({**OK, "details": {"17": None}}, "unclear"),
        (OK, "unclear"),
        (None, "unclear"),
        ([], "unclear"),
    ],
)
def test_an_answer_to_post_is_read_by_its_id(document: Any, outcome: str) -> None:
    assert post(document) == outcome


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("Internal error", "unclear"),
        ("Internal Server Error", "unclear"),
        ("System busy", "unclear"),
        ("Please try again later", "unclear"),
        ("Not processed, retry in 30 seconds", "unclear"),
        ("Service temporarily unavailable", "unclear"),
        ("Request timed out", "unclear"),
        ("An unexpected error has occurred", "unclear"),
        ("Something went wrong", "unclear"),
        ("Down for maintenance", "unclear"),
        ("Campaign not active", "refused"),
        ("Temporary email addresses are not allowed", "refused"),
        ("postcode is not valid: correct it and try again", "refused"),
        ("Validation error", "refused"),
        ("Lead already processed", "refused"),
        ("Rate limit exceeded, try again later", "throttled"),
    ],
)
def test_an_error_is_a_refusal_unless_it_speaks_of_leadbytes_own_trouble(message: str, outcome: str) -> None:
    error = {"status": "Error", "message": message}
    assert post(error) == put("reject", error) == put(None, {"status": "Error", "errors": [message]}) == outcome
    assert put(None, error, 400) == outcome
    assert put(None, {**OK, "leads": [{**BAD, "message": message}]}) == outcome


@pytest.mark.parametrize("words", ["Not processed: too many requests", "You do not have permission to process leads"])
def test_what_is_half_done_is_not_taken_back_to_be_sent_again(words: str) -> None:
    answer = {**OK, "leads": [DONE], "quaratineReleaseResults": [f"Quarantine ID '17': {words}"]}
    assert put("process", answer) == "refused"


@pytest.mark.parametrize(
    ("status", "document", "outcome"),
    [
        (401, ERROR, "forbidden"),
        (403, None, "forbidden"),
        (429, None, "throttled"),
        (404, ERROR, "refused"),
        (422, {"message": "postcode is not valid"}, "refused"),
        (404, None, "unclear"),
        (404, {**OK, "details": {"17": "Queued for processing"}}, "unclear"),
        (500, ERROR, "unclear"),
        (503, {**OK, "details": {"17": "Queued for processing"}}, "unclear"),
        (302, None, "unclear"),
    ],
)
def test_the_http_status_has_its_say(status: int, document: Any, outcome: str) -> None:
    assert post(document, status) == outcome


def test_each_of_several_leads_has_its_own_verdict() -> None:
    items = {"17": None, "18": "process", "19": "reject", "20": None}
    leads = [{**DONE, "quarantineId": one} for one in items if one != "20"]
    answer = {**OK, "leads": leads, "quaratineReleaseResults": ["Quarantine ID '18' queued for processing"]}
    outcomes = {one: verdict.outcome for one, verdict in read_put_answer(items, 200, answer).items()}  # type: ignore[arg-type]  # a dict of literals
    assert outcomes == {"17": "done", "18": "queued", "19": "unclear", "20": "unclear"}


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["17", "Success", QUEUED]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "leads", "details", "17", "quarantineId", "success", "message"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JUNK, st.sampled_from([200, 204, 302, 400, 404, 500]))
def test_no_answer_trips_the_reader_and_each_lead_gets_a_verdict(document: Any, status: int) -> None:
    assert set(read_put_answer({"17": "process", "18": None}, status, document)) == {"17", "18"}
    assert post(document, status) in set(Outcome)


def test_values_are_hidden_the_longer_ones_first() -> None:
    assert hide_values("TN25 6QD, TN25, 7", ["TN25", "TN25 6QD", "7", True]) == "***, ***, 7"
