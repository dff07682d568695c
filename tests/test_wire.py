"""From hostile bytes to something that can be handled and stored; and no lead data in the journal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from worker.domain.values import JSON
from worker.leadbyte.redacting import describe_shape
from worker.leadbyte.wire import (
    DEEPEST,
    OTHER_CAP,
    Decoded,
    decode_body,
    decode_text,
    make_storable,
    prepare_for_journal,
)

DEPTH = 100_000
MANY = 10_000_000


def read(body: bytes) -> JSON:
    decoded = decode_body(body)
    assert decoded.is_json
    return decoded.document


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b'{"a":1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":"nul \\u0000 here"}', {"a": "nul \ufffd here"}),
        (b'{"a\\u0000":1}', {"a\ufffd": 1}),
        (b'{"a":"half \\ud800 pair"}', {"a": "half \ufffd pair"}),
        (b'{"\\udfff":1}', {"\ufffd": 1}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a":"\xff\xfe\xc3("}', {"a": "\ufffd\ufffd\ufffd("}),
        (b"[NaN,Infinity,-Infinity]", [None, None, None]),
        (b"[1e999,-1e999,1e3]", [None, None, 1000.0]),
        (b"[999999999999999999,1000000000000000000]", [999999999999999999, "1000000000000000000"]),
        (b'{"status":"Rejected","status":"Approved"}', {"status": "Approved"}),
        (b'{"queueId":"a","queueId":"b","n":1,"n":1}', {"queueId": None, "n": 1}),
        (b'{"response":"{\\"code\\":1}","note":"{field}"}', {"response": {"code": 1}, "note": "{field}"}),
        (b'{"a":"[1,2","b":"{\\"c\\":\\"\\\\u0000\\"}"}', {"a": "[1,2", "b": {"c": "\ufffd"}}),
        (b"null", None),
        (b'"x"', "x"),
    ],
)
def test_what_neither_python_nor_postgres_takes_is_tamed(body: bytes, document: JSON) -> None:
    assert read(body) == document


@pytest.mark.parametrize("digits", [19, 100, 5_000, 1_000_000])
@pytest.mark.parametrize("sign", [b"", b"-"])
def test_an_integer_of_any_length_stays_text(digits: int, sign: bytes) -> None:
    assert read(sign + b"9" * digits) == (sign + b"9" * digits).decode()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEPTH + b"]" * DEPTH,
        b'{"a":' * DEPTH + b"1" + b"}" * DEPTH,
        b"[" * MANY,
        b'{"a":' * (MANY // 5),
        b'"' + b"\\" * MANY,
        b"Warning: x\n{} {}",
        b'Warning: x\n{"records":[{"queueId":"q"}',
        b'[{"queueId":"q"}',
        b'{"a":1} trailing',
        b'{"a":"raw \x00 nul"}',
        b'{"records":[{"queueId":"ac1e02',
        b"<html>",
        b"",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_is_text_and_nothing_worse(body: bytes) -> None:
    decoded = decode_body(body)
    assert (decoded.document, decoded.is_json) == (None, False)
    assert "\x00" not in decoded.text


def test_what_is_nested_too_deep_is_left_out_and_the_rest_is_kept() -> None:
    document = read(b'{"a":' + b"[" * 100 + b"7" + b"]" * 100 + b',"b":2}')
    assert isinstance(document, dict)
    assert document["b"] == 2
    assert json.dumps(document).count("[") == DEEPEST - 1


@given(st.binary() | st.text(st.characters(codec=None)).map(lambda t: json.dumps(t).encode()))
def test_any_bytes_become_storable_text(body: bytes) -> None:
    decoded = decode_body(body)
    kept, _ = prepare_for_journal(decoded, keep_lead_data=False)
    for text in (decoded.text, kept):
        assert "\x00" not in text
        assert text.encode().decode() == text


@given(st.text(st.characters(codec=None)))
def test_a_text_is_made_storable_once_and_for_all(text: str) -> None:
    once = make_storable(text)
    assert make_storable(once) == once
    assert len(once) == len(text)


LEAD: JSON = {"email": "jo@example.com"}
RECORD: dict[str, JSON] = {"queueId": "q", "status": "Approved", "buyers": [{"id": 1, "data": "of the buyer"}]}


def journal(document: JSON, *, keep_lead_data: bool = False) -> tuple[JSON, str | None]:
    kept, cut = prepare_for_journal(decode_text(json.dumps(document)), keep_lead_data=keep_lead_data)
    return json.loads(kept), cut


def place(name: str, where: str) -> tuple[JSON, JSON]:
    """A document with lead data at a place, and the same one without."""
    block: dict[str, JSON] = {name: LEAD}
    names: dict[str, JSON] = {"leadFieldsPresent": ["email"]}
    documents: dict[str, tuple[JSON, JSON]] = {
        "root": ({"records": [RECORD], **block}, {"records": [RECORD], **names}),
        "record": ({"records": [{**RECORD, **block}]}, {"records": [{**RECORD, **names}]}),
        "one record": ({"records": {**RECORD, **block}}, {"records": {**RECORD, **names}}),
        "record by id": ({"records": {"17": {**RECORD, **block}}}, {"records": {"17": {**RECORD, **names}}}),
        "result": ({"Results": [{**RECORD, **block}]}, {"Results": [{**RECORD, **names}]}),
        "in data": ({"data": [{**RECORD, **block}]}, {"data": [{**RECORD, **names}]}),
        "response": ({"records": [{**RECORD, "response": block}]}, {"records": [{**RECORD, "response": names}]}),
        "response by id": (
            {"records": {"17": {**RECORD, "response": block}}},
            {"records": {"17": {**RECORD, "response": names}}},
        ),
        "bare record": ({**RECORD, **block}, {**RECORD, **names}),
        "list": ([{**RECORD, **block}], [{**RECORD, **names}]),
    }
    return documents[where]


PLACES = (
    "root",
    "record",
    "one record",
    "in data",
    "record by id",
    "result",
    "response",
    "response by id",
    "bare record",
    "list",
)


@pytest.mark.parametrize(
    "name", ["lead", "leadData", "lead_data", "Lead-Data", "LEAD DATA", "leadDetails", "data", "fields"]
)
@pytest.mark.parametrize("where", PLACES)
def test_lead_data_is_dropped_from_every_place_and_nothing_else_is(name: str, where: str) -> None:
    given_document, expected = place(name, where)
    assert journal(given_document) == (expected, "lead data")
    assert journal(given_document, keep_lead_data=True) == (given_document, None)


def test_a_reply_without_lead_data_is_kept_whole() -> None:
    document: JSON = {"records": [{**RECORD, "leadId": 7, "response": {"campaign": {"data": 1}, "leads": 2}}]}
    assert journal(document) == (document, None)


def test_garbage_is_cut_and_the_cut_is_said() -> None:
    kept, cut = prepare_for_journal(decode_body(b"<" * (OTHER_CAP + 5)), keep_lead_data=False)
    assert (len(kept), cut) == (OTHER_CAP, f"5 of {OTHER_CAP + 5} characters")
    assert prepare_for_journal(decode_body(b"<" * OTHER_CAP), keep_lead_data=False) == ("<" * OTHER_CAP, None)


def test_a_reply_is_never_cut_since_it_has_to_be_read_again() -> None:
    document: JSON = {"records": [{**RECORD, "info": "x" * 2_000_000}]}
    assert journal(document) == (document, None)


def test_what_was_journalled_reads_as_it_did() -> None:
    decoded = decode_body(b'{"records":[{"queueId":"q","n":1e999,"i":12345678901234567890,"s":"\\ud800"}]}')
    kept, _ = prepare_for_journal(decoded, keep_lead_data=False)
    assert decode_text(kept) == Decoded(decoded.document, kept, is_json=True)


field_names = st.sampled_from(
    ["lead", "Lead", "LEAD DATA", "lead-data", "lead_data", "leadData", "leadId", "data", "fields", "Fields", "info",
     "queueId", "records", "response", "status", "buyer", "le\tad", "l-e-a-d"]
)  # fmt: skip
plain_documents = st.recursive(
    st.sampled_from(["x", "ac1e0206-6d6fd2fa", 7, None, True]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(field_names, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(field_names, plain_documents, max_size=5))
def test_a_reply_kept_as_it_came_has_nothing_in_it_that_care_would_have_dropped(document: dict[str, Any]) -> None:
    decoded = decode_text(json.dumps(document))
    kept, _ = prepare_for_journal(decoded, keep_lead_data=False)
    careful, _ = prepare_for_journal(replace(decoded, is_plain=False), keep_lead_data=False)
    assert json.loads(kept) == json.loads(careful)


def test_the_shape_of_a_reply_shows_words_and_kinds_and_nobodys_data() -> None:
    response: JSON = {"code": 1, "payout": "2.00", "leadId": None}
    shape = describe_shape({"records": [{"queueId": "ac1e0206", "status": "Odd", "response": response}]})
    kinds = {"code": "number", "payout": "text", "leadId": None}
    assert json.loads(shape) == {"records": [{"queueId": "text", "status": "Odd", "response": kinds}]}
    hidden = describe_shape({"someone@example.org": {"status": "07700 900123"}, "07700": {"Status": "someone@x.org"}})
    assert "someone" not in hidden
    assert "0770" not in hidden
