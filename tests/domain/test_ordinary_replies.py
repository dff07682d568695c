"""What is read of an ordinary answer at once is what the careful reader says of it, and is fit for the journal."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.pipeline.replies import PLACE, list_stories, write_body, write_queued_body
from worker.domain import ordinary, ordinary_blocks
from worker.domain.classify import classify_reply
from worker.domain.facts import Facts, Named
from worker.domain.lifecycle import State
from worker.domain.ordinary import glance_at_reply, read_ordinary
from worker.domain.queue_id import PATTERN
from worker.leadbyte.wire import decode_body, prepare_for_journal

QUEUE_ID = "ac1e0206-12eaee18-63765b37-471b-f60cd31d"
RESPONSE: dict[str, Any] = {
    "code": 1, "response": "OK", "info": [], "leadId": 7, "rejectionId": None, "processTime": 0.43,
    "timestamp": "2022-11-17T16:03:04Z", "payout": "2.00",
    "buyers": [
        {"id": 12, "bid": "B1", "name": "Acme", "status": "Sold", "revenue": "12.50", "currency": "GBP"},
        {"id": 13, "bid": "B2", "name": "Hill", "status": "Unsold", "revenue": "0.00", "currency": "GBP"},
    ],
    "deliveries": [{"id": 40, "name": "Acme API", "buyerId": 12, "status": "Sold", "reason": "", "bid": "B1"}],
    "campaign": {"id": 565, "name": "Life", "reference": "LIFE"},
    "supplier": {"id": 3, "name": "Hill", "sid": "H3"},
}  # fmt: skip
RECORD = {"queueId": QUEUE_ID, "status": "Approved", "processed": "2022-11-17T16:03:04Z", "response": RESPONSE}
VERDICT: dict[str, Any] = {"status": "Success", "code": 1, "message": "OK", "records": [RECORD]}
QUEUED = {"queueId": QUEUE_ID, "status": "Queued", "processed": None, "response": None}

odd: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "-", "Pending", "0", 0, 1, -2, 2, True, [], {}, "Rejected", "Quarantined", "Queued", "401", "Success",
     "Not Found", {"status": "Sold"}, ["Approved"], "Unauthorized", 12.5, 12.0, "1e3", "١٢", "a\\b", "B1", "Sold", "12",
     "£12.50", "1,234.5", "9" * 12, 10**19, 10**40, -5, 1e300, "{field}", "N/A", "x" * 600, " Acme ", "A\tB", "GBP",
     "gbp", "2022-11-17 16:03:04", "2022-13-17T16:03:04Z", "1999-11-17T16:03:04Z", "0000-00-00T00:00:00Z", 1668700984,
     {"id": 9, "name": "Nine"}, [{"id": 9, "status": "Sold"}], [{}], {"lead": 1}, ["lead", 2], {"9": "Sold"}]
)  # fmt: skip
names = st.sampled_from(
    ["status", "code", "message", "records", "results", "queueId", "queueRef", "processed", "response", "payout", "id",
     "leadId", "rejectionId", "buyers", "deliveries", "errors", "error", "Status", "queue_id", "sold", "lead", "info",
     "bid", "name", "revenue", "currency", "reason", "buyerId", "reference", "sid", "campaign", "supplier", "buyer",
     "timestamp", "processTime", "quarantineId", "success"]
)  # fmt: skip
places = st.sampled_from(["root", "record", "response", "buyers", "deliveries", "campaign", "supplier"])
changes = st.lists(st.tuples(places, names, odd | st.just("(gone)")), max_size=4)
words = st.sampled_from(["Approved", "Rejected", "Returned", "Pending", "Queued", "approved"])
statuses = st.sampled_from([200, 200, 200, 202, 404])


def find_block(verdict: dict[str, Any], place: str) -> Any:
    records = verdict.get("records")
    record = records[0] if isinstance(records, list) and records else None
    response = record.get("response") if isinstance(record, dict) else None
    if place in {"root", "record", "response"}:
        return {"root": verdict, "record": record, "response": response}[place]
    block = response.get(place) if isinstance(response, dict) else None
    return block[0] if isinstance(block, list) and block else block


def change(verdict: dict[str, Any], place: str, name: str, value: Any) -> None:
    block = find_block(verdict, place)
    if isinstance(block, dict):
        if value == "(gone)":
            block.pop(name, None)
        else:
            block[name] = copy.deepcopy(value)


def change_all(word: str, steps: list[tuple[str, str, Any]]) -> dict[str, Any]:
    verdict = copy.deepcopy(VERDICT)
    verdict["records"][0]["status"] = word
    for place, name, value in steps:
        change(verdict, place, name, value)
    return verdict


def read_facts(verdict: dict[str, Any]) -> Facts:
    reading = read_ordinary(QUEUE_ID, 200, json.dumps(verdict))
    assert reading is not None
    return reading.facts


@given(changes, words, statuses, st.booleans())
def test_what_is_read_at_once_is_what_the_careful_reader_says(
    steps: list[tuple[str, str, Any]], word: str, http_status: int, escapes: bool
) -> None:
    body = json.dumps(change_all(word, steps), ensure_ascii=escapes).encode()
    decoded = decode_body(body)
    careful = classify_reply(QUEUE_ID, http_status, decoded.document, decoded.text)
    assert read_ordinary(QUEUE_ID, http_status, decoded.text) in {None, careful}
    glance = glance_at_reply(QUEUE_ID, http_status, body)
    if glance is not None:
        assert (glance.meaning, glance.state, glance.reason) == (careful.meaning, careful.state, careful.reason)
        assert prepare_for_journal(decoded, keep_lead_data=False) == (body.decode(), None)


@given(changes, st.integers(0, 900), st.sampled_from([b"\\u0000", b'"', b"}", b"NaN", b"\xef\xbb\xbf", b',"id":7']))
def test_a_body_with_something_odd_put_into_it_is_read_the_same_or_left_alone(
    steps: list[tuple[str, str, Any]], at: int, put: bytes
) -> None:
    body = json.dumps(change_all("Approved", steps)).encode()
    body = body[:at] + put + body[at:]
    decoded = decode_body(body)
    careful = classify_reply(QUEUE_ID, 200, decoded.document, decoded.text)
    assert read_ordinary(QUEUE_ID, 200, decoded.text) in {None, careful}
    if glance_at_reply(QUEUE_ID, 200, body) is not None:
        assert prepare_for_journal(decoded, keep_lead_data=False) == (body.decode(), None)


@pytest.mark.parametrize("record", [*list_stories(), {"status": "Queued", "processed": None, "response": None}])
def test_ordinary_answers_are_read_at_once(record: dict[str, Any]) -> None:
    body = write_body(record).replace(PLACE, QUEUE_ID).encode()
    decoded = decode_body(body)
    assert read_ordinary(QUEUE_ID, 200, body.decode()) == classify_reply(QUEUE_ID, 200, decoded.document)
    assert glance_at_reply(QUEUE_ID, 200, body) is not None


@pytest.mark.parametrize(
    ("word", "state"), [("Approved", State.APPROVED), ("Rejected", State.REJECTED), ("Returned", State.RETURNED)]
)
def test_the_published_verdicts_are_told_at_a_glance(word: str, state: State) -> None:
    glance = glance_at_reply(QUEUE_ID, 200, json.dumps(change_all(word, [])).encode())
    assert glance is not None
    assert glance.state is state


def test_queued_is_told_at_a_glance() -> None:
    glance = glance_at_reply(QUEUE_ID, 200, write_queued_body().replace(PLACE, QUEUE_ID).encode())
    assert glance is not None
    assert glance.state is State.QUEUED


queue_ids = st.from_regex(PATTERN, fullmatch=True)
LAYOUTS = [{}, {"indent": 1}, {"separators": (",", ":")}, {"sort_keys": True}]


def write_queued(queue_id: str, layout: dict[str, Any]) -> bytes:
    return json.dumps({**VERDICT, "records": [{**QUEUED, "queueId": queue_id}]}, **layout).encode()


@given(st.lists(queue_ids | st.sampled_from(["processed", "response"]), min_size=2, max_size=4), st.data())
def test_queued_is_told_of_each_lead_as_the_careful_reader_does(ids: list[str], data: st.DataObject) -> None:
    for queue_id in ids:
        body = write_queued(queue_id, data.draw(st.sampled_from(LAYOUTS)))
        for asked in ids:
            glance = glance_at_reply(asked, 200, body)
            assert (glance is None) == (asked != queue_id)
            assert glance is None or glance == classify_reply(asked, 200, decode_body(body).document)


@pytest.mark.parametrize("learned", ["processed", "response"])
def test_a_lead_called_like_a_field_does_not_make_others_of_its_field(learned: str) -> None:
    told = write_queued(learned, {"sort_keys": True})
    assert glance_at_reply(learned, 200, told) is not None
    parts, ours = told.split(learned.encode()), QUEUE_ID.encode()
    for said in (ours.join(parts[:2]), told.replace(learned.encode(), ours, 1), ours.join(parts)):
        assert glance_at_reply(QUEUE_ID, 200, said) in {None, classify_reply(QUEUE_ID, 200, decode_body(said).document)}


def test_the_next_lead_that_is_queued_is_told_without_reading_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert glance_at_reply(QUEUE_ID, 200, write_queued(QUEUE_ID, {})) is not None
    monkeypatch.setattr(ordinary, "decode_ordinary", lambda *_: None)
    glance = glance_at_reply("another-queue-id", 200, write_queued("another-queue-id", {}))
    assert glance is not None
    assert glance.state is State.QUEUED


def test_an_answer_that_is_padded_is_told_but_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordinary, "_queued_text", ordinary._QueuedText())
    assert glance_at_reply(QUEUE_ID, 200, write_queued(QUEUE_ID, {}) + b" " * 4096) is not None
    assert ordinary._queued_text._around is None


@given(queue_ids, st.integers(0, 200), st.binary(max_size=3))
def test_an_answer_that_is_nearly_queued_is_read_as_what_it_is(queue_id: str, at: int, put: bytes) -> None:
    assert glance_at_reply(QUEUE_ID, 200, write_queued(QUEUE_ID, {})) is not None
    body = write_queued(queue_id, {})
    odd = body[:at] + put + body[at + len(put) :]
    decoded = decode_body(odd)
    careful = classify_reply(queue_id, 200, decoded.document, decoded.text)
    assert glance_at_reply(queue_id, 200, odd) in {None, careful}
    assert glance_at_reply(queue_id, 202, body) is None


@pytest.mark.parametrize("payout", ["Pending", "pending", "-", "", True, {}])
def test_a_verdict_without_a_settled_payout_is_read_with_care(payout: Any) -> None:
    body = json.dumps(change_all("Approved", [("response", "payout", payout)])).encode()
    assert glance_at_reply(QUEUE_ID, 200, body) is None


@pytest.mark.parametrize("name", ["lead", "data", "Lead Data", "fields"])
def test_an_answer_that_may_hold_lead_data_is_read_with_care(name: str) -> None:
    for block in ("record", "response"):
        body = json.dumps(change_all("Approved", [(block, name, {"email": "someone@example.org"})])).encode()
        assert glance_at_reply(QUEUE_ID, 200, body) is None
    hidden = json.dumps(change_all("Approved", [("response", "info", {name: "someone@example.org"})])).encode()
    assert glance_at_reply(QUEUE_ID, 200, hidden) is None


def test_a_record_of_another_lead_is_no_verdict_of_ours() -> None:
    body = json.dumps(VERDICT).encode()
    assert glance_at_reply("another-queue-id", 200, body) is None
    assert read_ordinary("another-queue-id", 200, body.decode()) is None


def test_an_answer_that_names_its_lead_twice_is_read_with_care() -> None:
    other = "ac1e0206-00000000-62ce91e7-ffff-00000000"
    body = json.dumps(VERDICT).replace(f'"queueId": "{QUEUE_ID}"', f'"queueId": "{other}", "queueId": "{QUEUE_ID}"')
    assert glance_at_reply(QUEUE_ID, 200, body.encode()) is None
    assert read_ordinary(QUEUE_ID, 200, body) is None


@pytest.mark.parametrize("info", [["email is invalid"], {"email": "is invalid"}])
def test_a_refusal_whose_reason_stands_in_info_alone_is_read_with_care(info: Any) -> None:
    verdict = copy.deepcopy(VERDICT)
    verdict["records"][0]["response"].update(code=-5, response=None, info=info)
    body = json.dumps(verdict)
    assert read_ordinary(QUEUE_ID, 200, body) is None
    assert "is invalid" in str(classify_reply(QUEUE_ID, 200, json.loads(body)).facts.result_reason)


def test_a_block_in_the_same_words_is_read_as_what_it_is_wherever_it_stands() -> None:
    block = {"id": 9, "name": "Nine"}
    for place in ("campaign", "supplier"):
        for of in ("record", "response"):
            verdict = change_all("Approved", [("response", "campaign", "(gone)"), ("response", "supplier", "(gone)")])
            change(verdict, of, place, block)
            facts = read_facts(verdict)
            told = {"campaign": facts.campaign, "supplier": facts.supplier}
            assert told == {"campaign": None, "supplier": None, place: Named("9", "Nine")}
            change(verdict, "record" if of == "response" else "response", place, block)
            assert read_ordinary(QUEUE_ID, 200, json.dumps(verdict)) is None


def test_blocks_too_long_to_be_remembered_are_read_all_the_same() -> None:
    verdict = change_all("Approved", [])
    row = verdict["records"][0]["response"]["deliveries"][0]
    verdict["records"][0]["response"]["deliveries"] = [{**row, "id": number} for number in range(2, 102)]
    remembered = ordinary_blocks._read_joined.cache_info().currsize
    assert [delivery.key for delivery in read_facts(verdict).deliveries or ()] == [
        str(number) for number in range(2, 102)
    ]
    assert ordinary_blocks._read_joined.cache_info().currsize == remembered


BLOCKS = ["campaign", "supplier", "buyers", "deliveries", "info"]
PERSON = '{"id": 7, "lead": "someone@example.org"}'


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("hides", [PERSON, f"[{PERSON}]"])
def test_a_block_told_twice_hides_no_lead_data(block: str, hides: str) -> None:
    body = json.dumps(VERDICT)
    told = json.dumps(RESPONSE[block])
    for place in (f'"{block}": {told}', '"response": {"code": 1'):
        name = "response" if "response" in place else block
        hidden = hides if name == block else f'{{"{block}": {hides}}}'
        said = body.replace(place, f'"{name}": {hidden}, {place}', 1)
        assert said != body
        assert glance_at_reply(QUEUE_ID, 200, said.encode()) is None


def test_a_response_told_before_that_there_is_none_hides_no_lead_data() -> None:
    body = json.dumps({**VERDICT, "records": [QUEUED]}).replace(
        '"response"', f'"response": {{"info": {PERSON}}}, "response"'
    )
    assert glance_at_reply(QUEUE_ID, 200, body.encode()) is None


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("opens", ["[", '{"a":'])
def test_a_block_of_any_depth_is_left_to_the_careful_reader(block: str, opens: str) -> None:
    closes = "]" if opens == "[" else "}"
    depth = 5000
    for of in ("record", "response"):
        verdict = change_all("Approved", [("response", block, "(gone)")])
        change(verdict, of, block, "(deep)")
        body = json.dumps(verdict).replace('"(deep)"', opens * depth + "1" + closes * depth)
        assert glance_at_reply(QUEUE_ID, 200, body.encode()) is None
        assert read_ordinary(QUEUE_ID, 200, body) is None
