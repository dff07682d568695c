"""Laws of every reply, however hostile: nothing raises, nothing is attributed wrongly, everything can be stored."""

from __future__ import annotations

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from worker.domain import records
from worker.domain.answers import Answer
from worker.domain.classify import Meaning, classify_reply
from worker.domain.decide import digest_reading
from worker.domain.facts import Buyer, Delivery, Facts, derive_facts, merge_facts
from worker.domain.lifecycle import State
from worker.domain.values import JSON, fold_key
from worker.leadbyte import wire
from worker.leadbyte.wire import decode_body, decode_text, prepare_for_journal

QUEUE_ID = "ac1e0206-12eaee18-63765b37-471b-f60cd31d"

# Names and words that the reader looks for, so that chance comes near what it understands.
NAMES = [
    "records", "results", "record", "response", "queueId", "queueRef", "status", "code", "message", "errors", "leadId",
    "rejectionId", "payout", "revenue", "buyers", "buyer", "deliveries", "delivery", "campaign", "supplier", "id",
    "bid", "name", "reason", "currency", "processed", "timestamp", "quarantine", "lead", "data", "items", "success",
    "error", "sold", "info", "leadFieldsPresent", "email", "quarantineId", "details", "QueueID",
]  # fmt: skip
WORDS = [
    "Approved",
    "Rejected",
    "Pending",
    "Processed",
    "In Quarantine",
    '{"queueId": "x", "status": "Approved"}',
    "Not Found",
    "Error",
    "Sold",
    "12.50",
    "-",
    "null",
    "X\x00\ud800",
]

texts = st.sampled_from(WORDS) | st.text(st.characters(codec=None), max_size=10)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
names = st.sampled_from(NAMES) | st.text(st.characters(codec=None), max_size=5)


def documents(ids: st.SearchStrategy[JSON]) -> st.SearchStrategy[JSON]:
    """Documents near LeadByte's shape, whose records may carry these IDs."""
    leaves: st.SearchStrategy[JSON] = scalars | ids
    any_json: st.SearchStrategy[JSON] = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=10
    )
    record = st.fixed_dictionaries(
        {}, optional={"queueId": ids, "status": texts, "response": any_json, "buyers": any_json, "campaign": any_json}
    )
    envelope = st.fixed_dictionaries(
        {}, optional={"status": texts, "records": st.lists(record, max_size=3), "results": any_json, "buyers": any_json}
    )
    return st.one_of(any_json, envelope)


strangers: st.SearchStrategy[JSON] = st.sampled_from([None, 7, QUEUE_ID[:-1], QUEUE_ID.upper()[:-1], "x" + QUEUE_ID])
ours_or_not: st.SearchStrategy[JSON] = st.just(QUEUE_ID) | strangers
statuses = st.sampled_from([200, 204, 302, 400, 401, 404, 429, 500, 503]) | st.integers(100, 599)
bodies = st.one_of(
    st.binary(),
    documents(ours_or_not).map(lambda document: json.dumps(document).encode()),
    documents(ours_or_not).map(lambda document: json.dumps(document)[:-3].encode()),
)


def is_storable(text: str) -> bool:
    """Whether Postgres takes it: UTF-8 without NUL."""
    return "\x00" not in text and text.encode("utf-8", "ignore").decode() == text


@given(statuses, documents(ours_or_not), texts)
def test_no_document_makes_the_reader_raise(http_status: int, document: JSON, text: str) -> None:
    reading = classify_reply(QUEUE_ID, http_status, document, text)
    digest_reading(reading)
    assert reading.reason
    assert (reading.state is None and reading.facts == Facts()) or reading.meaning in {
        Meaning.TOLD,
        Meaning.UNKNOWN_STATUS,
    }


@given(statuses, documents(strangers))
def test_nothing_is_ever_learned_from_records_of_other_leads(http_status: int, document: JSON) -> None:
    reading = classify_reply(QUEUE_ID, http_status, document)
    assert reading.meaning not in {Meaning.TOLD, Meaning.UNKNOWN_STATUS}
    assert reading.facts == Facts()


@given(statuses, bodies)
def test_every_answer_can_be_stored_and_read_again(http_status: int, body: bytes) -> None:
    answer = Answer(http_status, body)
    decoded = decode_body(answer.body)
    reading = classify_reply(QUEUE_ID, answer.http_status, decoded.document, decoded.text)
    kept, _ = prepare_for_journal(decoded, keep_lead_data=False)
    assert is_storable(kept)
    assert is_storable(reading.reason)
    assert all(is_storable(str(value)) for value in iterate_values(reading.facts))
    again = decode_text(kept)
    assert again.is_json is decoded.is_json
    assert classify_reply(QUEUE_ID, http_status, again.document, again.text) == reading


@given(documents(ours_or_not), st.sampled_from(State))
def test_reading_the_same_reply_again_changes_no_fact(document: JSON, state: State) -> None:
    told = classify_reply(QUEUE_ID, 200, decode_text(json.dumps(document)).document).facts
    once = derive_facts(merge_facts(Facts(), told), state)
    assert derive_facts(merge_facts(once, told), state) == once


@given(documents(ours_or_not))
def test_what_is_dropped_from_the_journal_is_lead_data_alone(document: JSON) -> None:
    decoded = decode_text(json.dumps(document))
    kept, cut = prepare_for_journal(decoded, keep_lead_data=False)
    assert (decode_text(kept).document == decoded.document) is (cut is None)
    assert (cut is None) or {"lead", "data"} & {fold_key(name) for name in iterate_names(decoded.document)}


def iterate_names(value: JSON) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(name for inner in value.values() for name in iterate_names(inner))]
    return [name for inner in value for name in iterate_names(inner)] if isinstance(value, list) else []


def iterate_values(facts: Facts) -> list[object]:
    rows: list[Buyer | Delivery] = [*(facts.buyers or ()), *(facts.deliveries or ())]
    plain = [facts.result_reason, facts.lead_id, facts.campaign, facts.supplier, facts.currency, facts.processed_raw]
    return [*plain, *(value for row in rows for value in (row.key, row.id, row.name, row.status))]


@given(documents(ours_or_not))
def test_what_is_found_at_once_is_what_is_found_by_looking_everywhere(document: JSON) -> None:
    if isinstance(document, dict) and (ordinary := records._find_ordinary(document)) is not None:
        assert records._find_anywhere(document, QUEUE_ID) == [ordinary]


@given(documents(ours_or_not))
def test_a_body_that_needs_no_taming_is_the_same_tamed(document: JSON) -> None:
    decoded = decode_text(json.dumps(document)).document
    assert wire._tame(decoded, wire.DEEPEST) == decoded


@given(st.lists(st.sampled_from([0, 0, 1, 2]), min_size=1, max_size=4), st.randoms())
def test_the_order_of_records_does_not_matter(picked: list[int], chance: random.Random) -> None:
    told: list[JSON] = [
        {"queueId": QUEUE_ID, "status": "Approved", "response": {"leadId": 7}},
        {"queueId": "ac1e0206-00000000-62ce91e7-ffff-00000000", "status": "Rejected"},
        {"queueId": QUEUE_ID.upper(), "status": "Queued"},
    ]
    rows = [told[at] for at in picked]
    once = classify_reply(QUEUE_ID, 200, {"records": list(rows)})
    chance.shuffle(rows)
    assert classify_reply(QUEUE_ID, 200, {"records": rows}) == once


@given(documents(ours_or_not), st.integers(0, 400))
def test_a_cut_answer_is_never_read_as_if_it_were_whole(document: JSON, at: int) -> None:
    body = json.dumps(document)
    cut = body[: min(at, len(body) - 1)]
    if isinstance(document, dict | list):
        assert not decode_text(cut).is_json


def test_a_refusal_explained_by_a_block_with_lead_data_reads_the_same_from_the_journal() -> None:
    within: JSON = {"response": {"code": -8, "rejectionId": 5, "lead": {"email": "someone@example.org"}}}
    record: JSON = {
        "queueId": QUEUE_ID,
        "status": "Rejected",
        "response": {"code": -8, "response": "-", "info": within},
    }
    decoded = decode_text(json.dumps({"status": "Success", "records": [record]}))
    kept, cut = prepare_for_journal(decoded, keep_lead_data=False)
    again = decode_text(kept)
    assert cut == "lead data"
    assert classify_reply(QUEUE_ID, 200, again.document) == classify_reply(QUEUE_ID, 200, decoded.document)
