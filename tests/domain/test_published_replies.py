"""Every reply LeadByte has published or been seen to give, and what it means: a table, reply → state and facts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from worker.domain.answers import Answer
from worker.domain.classify import Meaning, Reading, classify_reply
from worker.domain.facts import Buyer, Delivery, Facts, Named, derive_facts
from worker.domain.lifecycle import State
from worker.leadbyte.wire import decode_body, prepare_for_journal

QUEUE_ID = "ac1e0206-12eaee18-63765b37-471b-f60cd31d"


def read(body: str, http_status: int = 200) -> Reading:
    answer = Answer(http_status, body.encode())
    decoded = decode_body(answer.body)
    return classify_reply(QUEUE_ID, answer.http_status, decoded.document, decoded.text)


def poll(status: object, response: object, **more: object) -> str:
    """The documented envelope around a `response` object."""
    record: dict[str, Any] = {"queueId": QUEUE_ID, "response": response, **more}
    if status is not None:
        record["status"] = status
    return json.dumps({"status": "Success", "code": 1, "message": "OK", "records": [record]})


APPROVED = """{"status":"Success","code":1,"message":"OK","records":[
 {"queueId":"ac1e0206-12eaee18-63765b37-471b-f60cd31d","status":"Approved","processed":"2022-11-17T16:03:04Z","response":{"code":1,"response":"OK","info":[],"leadId":7185867,
 "rejectionId":null,"processTime":0.43,"timestamp":"2022-11-17T16:03:04Z","payout":"2.00"}}]}"""
PENDING_OF_2018 = {
    "code": 1, "response": "OK", "info": [], "leadId": 5697371, "processTime": 0.43,
    "timestamp": "2018-07-21T12:59:03Z", "payout": "Pending",
}  # fmt: skip
HLR_REJECTION = {
    "code": -8, "response": "HLR rejection", "info": {"status": "UNDELIV", "code": "EC_UNKNOWN_SUBSCRIBER"},
    "leadId": None, "processTime": 0.77, "timestamp": "2016-03-17T11:53:39Z",
}  # fmt: skip
SUBMITTED = """{"status":"Success","code":1,"message":"","results":[{"queueId":"%s","status":"Queued","code":1}]}"""
UNSOLD = {"code": 1, "response": "OK", "info": ["No buyer"], "leadId": 7185867, "rejectionId": None}


def at(text: str) -> dict[str, Any]:
    return {"processed_at": datetime.fromisoformat(text), "processed_raw": text}


PUBLISHED: dict[str, tuple[str, State | None, Facts]] = {
    "approved": (
        APPROVED,
        State.APPROVED,
        Facts(
            campaign_accepted=True,
            result_code=1,
            result_reason="OK",
            lead_id="7185867",
            payout=Decimal("2.00"),
            payout_pending=False,
            **at("2022-11-17T16:03:04Z"),
        ),
    ),
    "accepted, buyers deciding (2018), in a record that says Approved": (
        poll("Approved", PENDING_OF_2018),
        State.PENDING,
        Facts(
            campaign_accepted=True,
            result_code=1,
            result_reason="OK",
            lead_id="5697371",
            payout_pending=True,
            **at("2018-07-21T12:59:03Z"),
        ),
    ),
    "accepted, buyers deciding (2018), in a record without a status": (
        poll(None, PENDING_OF_2018),
        State.PENDING,
        Facts(
            campaign_accepted=True,
            result_code=1,
            result_reason="OK",
            lead_id="5697371",
            payout_pending=True,
            **at("2018-07-21T12:59:03Z"),
        ),
    ),
    "refused by the campaign": (
        poll("Rejected", {**HLR_REJECTION, "rejectionId": 991}),
        State.REJECTED,
        Facts(
            campaign_accepted=False,
            result_code=-8,
            result_reason="HLR rejection",
            rejection_id="991",
            **at("2016-03-17T11:53:39Z"),
        ),
    ),
    "refused by the campaign, as published, without a rejection ID": (
        poll("Rejected", HLR_REJECTION),
        State.REJECTED,
        Facts(
            campaign_accepted=False, result_code=-8, result_reason="HLR rejection", **at("2016-03-17T11:53:39Z")
        ),
    ),
    "accepted, and unsold": (
        poll("Rejected", UNSOLD),
        State.REJECTED,
        Facts(campaign_accepted=True, result_code=1, result_reason="OK", lead_id="7185867"),
    ),
    "rejected, and not told in which of its two meanings": (poll("Rejected", None), State.REJECTED, Facts()),
    "queued, as the submission answers": (SUBMITTED % QUEUE_ID, State.QUEUED, Facts(result_code=1)),
    "queued, as a poll may word it": (poll("Queued", None, processed=None), State.QUEUED, Facts()),
    "pending": (poll("Pending", {"leadId": 7}), State.PENDING, Facts(campaign_accepted=True, lead_id="7")),
    "quarantined": (
        poll("Quarantined", {"code": None, "response": "Quarantined", "leadId": None, "quarantineId": "2932682"}),
        State.QUARANTINED,
        Facts(result_reason="Quarantined", quarantine_id="2932682"),
    ),
    "quarantined, with its ID in a block of the record": (
        poll("Quarantine", None, quarantine={"id": 8419715}),
        State.QUARANTINED,
        Facts(quarantine_id="8419715"),
    ),
    "returned": (
        poll("Returned", UNSOLD),
        State.RETURNED,
        Facts(campaign_accepted=True, result_code=1, result_reason="OK", lead_id="7185867"),
    ),
    "processing": (poll("Processing", None), None, Facts()),
    "processed, and no more": (poll("Processed", None), None, Facts()),
    "processed, with a refusal beside it": (
        poll("Processed", {"code": "-2"}),
        State.REJECTED,
        Facts(campaign_accepted=False, result_code=-2),
    ),
    "processed, with a lead ID beside it": (
        poll("Processed", {"leadId": 7}),
        State.PENDING,
        Facts(campaign_accepted=True, lead_id="7"),
    ),
    "processed, with a buyer beside it": (
        poll("Processed", {"buyers": [{"id": 3, "status": "Sold"}]}),
        State.APPROVED,
        Facts(campaign_accepted=True, buyers=(Buyer("3", "3", status="Sold"),)),
    ),
    "processed, with a delivery that sold beside it": (
        poll("Processed", {"deliveries": [{"id": 9, "status": "Sold"}]}),
        State.APPROVED,
        Facts(campaign_accepted=True, deliveries=(Delivery("9", "9", status="Sold"),)),
    ),
    "processed, with a rejection ID alone beside it": (
        poll("Processed", {"rejectionId": 5}),
        State.REJECTED,
        Facts(campaign_accepted=False, rejection_id="5"),
    ),
    "processed, refused and sold at once": (
        poll("Processed", {"code": -2, "buyers": [{"id": 3, "status": "Sold"}]}),
        None,
        Facts(campaign_accepted=False, result_code=-2, buyers=(Buyer("3", "3", status="Sold"),)),
    ),
    "processed, sold, and the payout pending": (
        poll("Processed", {"payout": "Pending", "buyers": [{"id": 3, "status": "Sold"}]}),
        State.PENDING,
        Facts(campaign_accepted=True, payout_pending=True, buyers=(Buyer("3", "3", status="Sold"),)),
    ),
    "a status in a list, and a response in one": (
        poll(["Approved"], [{"leadId": 7}]),
        State.APPROVED,
        Facts(campaign_accepted=True, lead_id="7"),
    ),
    "a status in an object": (poll({"id": 3, "name": "Queued"}, None), State.QUEUED, Facts()),
    "a status in the response": (
        poll(None, {"status": "Approved", "leadId": 7}),
        State.APPROVED,
        Facts(campaign_accepted=True, lead_id="7"),
    ),
    "a lead ID as a float": (
        poll("Approved", {"leadId": 7185867.0}),
        State.APPROVED,
        Facts(campaign_accepted=True, lead_id="7185867"),
    ),
    "a lead ID that is none": (poll("Rejected", {"leadId": "9" * 5_000}), State.REJECTED, Facts()),
    "a payout with its currency": (
        poll("Approved", {"payout": {"amount": "2.00", "currency": "GBP"}}),
        State.APPROVED,
        Facts(campaign_accepted=True, payout=Decimal("2.00"), payout_pending=False, currency="GBP"),
    ),
    "a stamp as PHP writes it": (
        poll("Approved", None, processed={"date": "2022-11-17 16:03:04.000000", "timezone": "UTC"}),
        State.APPROVED,
        Facts(
            campaign_accepted=True,
            processed_at=datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC),
            processed_raw="2022-11-17 16:03:04.000000",
        ),
    ),
    "sold, by a flag of the record": (
        poll("Approved", {"leadId": 7, "sold": "Yes"}),
        State.APPROVED,
        Facts(campaign_accepted=True, lead_id="7", sold=True),
    ),
    "quarantined, with its ID in a block within another": (
        poll("Quarantined", {"details": {"quarantine": {"id": 8419715}}}),
        State.QUARANTINED,
        Facts(quarantine_id="8419715"),
    ),
    "quarantined, with a list of its one ID": (
        poll("Quarantined", None, quarantineIds=[8419715]),
        State.QUARANTINED,
        Facts(quarantine_id="8419715"),
    ),
    "quarantined, with a list of several IDs": (
        poll("Quarantined", None, quarantineIds=[8419715, 8419716]),
        State.QUARANTINED,
        Facts(),
    ),
    "quarantined, with its ID in a sentence": (
        poll("Quarantined", {"info": ["Quarantine ID '2932682' held"]}),
        State.QUARANTINED,
        Facts(quarantine_id="2932682"),
    ),
    "quarantined, with its ID bare": (
        poll("Quarantined", None, quarantine=2932682),
        State.QUARANTINED,
        Facts(quarantine_id="2932682"),
    ),
    "quarantined, with its ID in info": (
        poll("Quarantined", {"info": {"quarantineId": 2932682}}),
        State.QUARANTINED,
        Facts(quarantine_id="2932682"),
    ),
    "a campaign in a list, a supplier as a number": (
        poll("Queued", None, campaigns=[{"id": 565, "name": "Solar"}], supplier=3),
        State.QUEUED,
        Facts(campaign=Named("565", "Solar"), supplier=Named("3")),
    ),
    "a map of status words by queue ID": (
        json.dumps({"status": "Success", "records": {QUEUE_ID: "Queued"}}),
        State.QUEUED,
        Facts(),
    ),
    "text before the JSON": (
        "\ufeff<br />\n<b>Warning</b>: include(login.php): denied in a.php on line <b>3</b><br />\n" + APPROVED,
        State.APPROVED,
        Facts(
            campaign_accepted=True,
            result_code=1,
            result_reason="OK",
            lead_id="7185867",
            payout=Decimal("2.00"),
            payout_pending=False,
            **at("2022-11-17T16:03:04Z"),
        ),
    ),
    "JSON in a JSON string": (
        json.dumps(poll("Queued", None)),
        State.QUEUED,
        Facts(),
    ),
    "an ID without a code": (poll("Rejected", {"rejectionId": 5}), State.REJECTED, Facts(
        campaign_accepted=False, rejection_id="5")),
}  # fmt: skip


@pytest.mark.parametrize("case", PUBLISHED)
def test_a_published_reply_means_what_its_document_says(case: str) -> None:
    body, state, facts = PUBLISHED[case]
    reading = read(body)
    assert reading.meaning is Meaning.TOLD
    assert reading.state is state
    assert reading.facts == facts


@pytest.mark.parametrize("code", [-2, -3, -4, -5, -7, -8, -9, -10, -11, -12, -13, -14, -15, -16, -100])
@pytest.mark.parametrize("spell", [int, str, float])
def test_each_documented_refusal_says_that_the_campaign_refused(code: int, spell: type) -> None:
    reading = read(poll("Rejected", {"code": spell(code), "response": "a reason", "leadId": None}))
    assert (reading.state, reading.facts.campaign_accepted) == (State.REJECTED, False)
    assert (reading.facts.result_code, reading.facts.result_reason) == (code, "a reason")


def test_both_meanings_of_rejected_are_told_apart_and_neither_was_sold() -> None:
    refused, unsold = (read(poll("Rejected", response)).facts for response in (HLR_REJECTION, UNSOLD))
    assert (refused.campaign_accepted, unsold.campaign_accepted) == (False, True)
    assert derive_facts(refused, State.REJECTED).sold is False
    assert derive_facts(unsold, State.REJECTED).sold is False


@pytest.mark.parametrize("word", ["approved", "APPROVED", " Approved ", "aPPROVED"])
@pytest.mark.parametrize("envelope", ["records", "results", "Records", "record_s"])
@pytest.mark.parametrize("name", ["queueId", "queueRef", "queue_id", "QUEUE_REF", "queue id"])
def test_words_and_names_are_matched_however_they_are_spelt(word: str, envelope: str, name: str) -> None:
    reading = read(json.dumps({"status": "Success", envelope: [{name: QUEUE_ID, "status": word}]}))
    assert (reading.meaning, reading.state) == (Meaning.TOLD, State.APPROVED)


OURS = {"queueId": QUEUE_ID, "status": "Approved", "response": {"code": 1, "leadId": 7}}
STRANGER = {**OURS, "queueId": "ac1e0206-00000000-62ce91e7-ffff-00000000", "status": "Rejected"}


@pytest.mark.parametrize(
    "document",
    [
        {"records": [OURS]},
        {"records": OURS},
        {"records": {"17": OURS}},
        {"records": [OURS, STRANGER]},
        {"records": [STRANGER, OURS]},
        {"records": [OURS, OURS]},
        {"records": [None, 7, "x", OURS]},
        {"records": None, "results": [OURS]},
        OURS,
        [OURS],
        [[OURS]],
        {"records": [[OURS]]},
        {"records": [], "results": [OURS]},
        {"results": [], "records": [OURS]},
        {"records": {}, "results": {"0": OURS}},
        {"records": [STRANGER], "results": [OURS]},
        {"record": OURS},
        {"result": [OURS]},
        {"data": OURS},
        {"data": [OURS]},
        {"data": {"records": [OURS]}},
        {"data": {"data": {"record": OURS}}},
        {"lead": OURS},
        {"response": {"status": "Success", "records": [OURS]}},
        {"records": {"record": [OURS]}},
        {"records": {"items": [OURS], "total": 1}},
        {"items": [OURS]},
        {"leads": [OURS]},
        {"queue": OURS},
        {"records": {QUEUE_ID: {**OURS, "queueId": None}}},
        {"records": {QUEUE_ID: OURS, STRANGER["queueId"]: STRANGER}},
        {"records": {QUEUE_ID.upper(): {**OURS, "queueId": None}}},
        {QUEUE_ID: {**OURS, "queueId": None}},
        {"data": {QUEUE_ID: {**OURS, "queueId": None}}},
        {"queueId": QUEUE_ID, "status": "Success", "records": [{**OURS, "queueId": None}]},
        {"queueId": QUEUE_ID, "status": "Success", "records": [OURS]},
        {"records": [{**OURS, "queueId": QUEUE_ID.upper()}]},
        {"records": [{**OURS, "queueId": f" {QUEUE_ID}\n"}]},
        {"records": [{**OURS, "queueId": "", "queueRef": QUEUE_ID}]},
        {"records": [{**OURS, "queueId": None, "id": QUEUE_ID}]},
        {"records": [{"status": "Approved", "response": {"queueId": QUEUE_ID, "code": 1, "leadId": 7}}]},
        {"records": [{**OURS, "queueId": QUEUE_ID.upper(), "status": "Rejected"}, OURS]},
    ],
    ids=repr,
)
def test_the_record_of_our_lead_is_found_wherever_it_stands(document: object) -> None:
    reading = read(json.dumps(document))
    assert (reading.meaning, reading.state, reading.facts.lead_id) == (Meaning.TOLD, State.APPROVED, "7")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"records": [STRANGER]}, "records of other leads only"),
        ({"records": STRANGER}, "records of other leads only"),
        ({"records": [{**OURS, "queueId": QUEUE_ID[:-1]}]}, "records of other leads only"),
        ({"records": [{**OURS, "queueId": None}]}, "records that name no lead"),
        ({"records": [{**OURS, "queueId": [QUEUE_ID]}]}, "records that name no lead"),
        ({"records": {STRANGER["queueId"]: {**OURS, "queueId": None}}}, "records of other leads only"),
        ({"records": [{**OURS, "queueId": None}, {**OURS, "queueId": None}]}, "records that name no lead"),
        ({"records": [{**OURS, "queueId": None, "id": 7}]}, "records that name no lead"),
        (
            {"records": [{**OURS, "queueId": QUEUE_ID.upper()}, {**OURS, "queueId": QUEUE_ID.title()}]},
            "records of other leads only",
        ),
        ({"records": [{**OURS, "queueId": STRANGER["queueId"], "queueRef": QUEUE_ID}]}, "records of other leads only"),
        ({"records": [{**OURS, "queueRef": STRANGER["queueId"]}]}, "names two leads"),
        ({"records": [{**OURS, "response": {"queueId": STRANGER["queueId"], "code": 1}}]}, "names two leads"),
        ({"records": [{**OURS, "queue_id": STRANGER["queueId"]}]}, "records that name no lead"),
        ({"records": [], "results": []}, "no record"),
        ({"records": [OURS], "results": [{**OURS, "status": "Rejected"}]}, "contradict"),
        ({"records": []}, "no record"),
        ({"records": "none"}, "no record"),
        ({"records": [OURS, {**OURS, "status": "Rejected"}]}, "contradict"),
    ],
)
def test_no_record_of_our_lead_is_a_failed_poll_and_tells_nothing(document: object, reason: str) -> None:
    reading = read(json.dumps(document))
    assert (reading.meaning, reading.state, reading.facts) == (Meaning.FAILED, None, Facts())
    assert reason in reading.reason


def test_what_stands_at_the_root_is_nobodys_where_there_are_two_records() -> None:
    root = {"buyers": [{"id": 1, "status": "Sold", "revenue": 5}], "campaign": "Solar"}
    alone, shared = (read(json.dumps({**root, "records": rows})).facts for rows in ([OURS], [OURS, STRANGER]))
    assert alone.buyers is not None
    assert alone.campaign is not None
    assert (shared.buyers, shared.campaign) == (None, None)


@pytest.mark.parametrize("status", ["Transmogrified", "Invalid", "Error", "approved!", "None of these"])
def test_an_unknown_status_keeps_the_lead_open_and_keeps_its_facts(status: str) -> None:
    reading = read(poll(status, UNSOLD))
    assert (reading.meaning, reading.state) == (Meaning.UNKNOWN_STATUS, None)
    assert status in reading.reason
    assert reading.facts.lead_id == "7185867"


@pytest.mark.parametrize("status", [0.5, "OK", "1", "None of these"])
def test_a_record_without_a_known_word_is_never_final(status: str | float) -> None:
    reading = read(json.dumps({"records": [{**OURS, "status": status}]}))
    assert (reading.meaning, reading.state) == (Meaning.UNKNOWN_STATUS, None)


@pytest.mark.parametrize("status", [None, "", "-", "{status}", True])
def test_a_record_without_a_status_is_open_and_its_lead_accepted_where_it_shows_so(status: str | bool | None) -> None:
    accepted = read(json.dumps({"records": [{**OURS, "status": status}]}))
    assert (accepted.meaning, accepted.state) == (Meaning.TOLD, State.PENDING)
    assert accepted.facts.campaign_accepted is True
    silent = read(json.dumps({"records": [{"queueId": QUEUE_ID, "status": status}]}))
    assert (silent.meaning, silent.state, silent.facts) == (Meaning.UNKNOWN_STATUS, None, Facts())


def test_a_queue_id_told_twice_is_nobodys_and_a_status_told_in_two_spellings_is_none() -> None:
    twice = '{"records":[{"queueId":"%s","queueId":"%s","status":"Approved"}]}'
    other = STRANGER["queueId"]
    for first, second in ((QUEUE_ID, other), (other, QUEUE_ID)):
        assert read(twice % (first, second)).meaning is Meaning.FAILED
    assert read(twice % (QUEUE_ID, QUEUE_ID)).state is State.APPROVED
    spelt = {"records": [{"queueId": QUEUE_ID, "status": "Approved", "Status": "Rejected", "STATUS": "Approved"}]}
    assert read(json.dumps(spelt)).state is None


def test_json_within_strings_is_read_as_if_it_stood_there_itself() -> None:
    quoted = {**OURS, "response": json.dumps({"code": 1, "leadId": 7, "payout": "Pending"})}
    for document in ({"records": [quoted]}, {"records": json.dumps([quoted])}):
        reading = read(json.dumps(document))
        assert (reading.state, reading.facts.payout_pending) == (State.PENDING, True)


def test_lead_data_within_a_string_is_kept_out_of_the_journal() -> None:
    quoted = {**OURS, "response": json.dumps({"code": 1, "lead": {"email": "someone@example.org"}})}
    kept, cut = prepare_for_journal(decode_body(json.dumps({"records": [quoted]}).encode()), keep_lead_data=False)
    assert cut == "lead data"
    assert "someone" not in kept


@pytest.mark.parametrize("payout", [["Pending"], "PENDING", "Pending approval", {"status": "Pending"}])
def test_an_approval_whose_payout_is_pending_in_any_wording_stays_open(payout: object) -> None:
    reading = read(poll("Approved", {"code": 1, "leadId": 7, "payout": payout}))
    assert (reading.state, reading.facts.payout, reading.facts.payout_pending) == (State.PENDING, None, True)


def test_pending_alone_does_not_say_who_took_the_lead() -> None:
    reading = read(json.dumps({"results": [{"queueRef": QUEUE_ID, "status": "Pending"}]}))
    assert (reading.state, reading.facts) == (State.PENDING, Facts())


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"code": -5, "info": ["email is invalid", "phone is invalid"]}, "email is invalid; phone is invalid"),
        ({"code": -8, "info": {"status": "UNDELIV"}}, "status: UNDELIV"),
        ({"code": -5, "response": "Validation error", "info": ["email"]}, "Validation error"),
        ({"code": 1, "info": ["email is valid"]}, None),
    ],
)
def test_the_reason_of_a_refusal_may_stand_in_info_alone(response: object, reason: str | None) -> None:
    assert read(poll("Rejected", response)).facts.result_reason == reason


def test_a_processed_moment_is_understood_in_utc() -> None:
    reading = read(poll("Approved", None, processed="2022-11-17T17:03:04+01:00"))
    assert reading.facts.processed_at == datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC)
    assert reading.facts.processed_raw == "2022-11-17T17:03:04+01:00"
