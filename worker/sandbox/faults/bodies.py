"""Faults of the body: the true answer, spoiled in its bytes or about whom it speaks. Odd but true is `variants.py`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

from worker.sandbox.faults.kinds import Circumstances, Fault, Mangle
from worker.sandbox.protocol import JSON_TYPE, Reply
from worker.sandbox.shapes import Json

_STRANGER = "ac1e0206-00000000-62ce91e7-ffff-00000000"
_DEPTH = 100_000
_PLACEHOLDER = "@"
_HALF_PAIR = "half \ud800 pair"
_WRAPPINGS = 12


def edit_payload(edit: Callable[[Json, list[Json], Circumstances], None]) -> Mangle:
    """Make a fault of a function that changes the decoded answer (and its records) in place."""

    def mangle(reply: Reply, by: Circumstances) -> Reply:
        payload = json.loads(reply.body)
        edit(payload, payload.get("records", []), by)
        return Reply(reply.status, json.dumps(payload).encode(), reply.headers)

    return mangle


def edit_bytes(edit: Callable[[bytes], bytes]) -> Mangle:
    """Make a fault of a function that changes the bytes of the body."""
    return lambda reply, _by: Reply(reply.status, edit(reply.body), reply.headers)


def insert_in_response(value: object, name: str) -> Mangle:
    """Make a fault that puts a JSON value into `response.info` and under another name of `response`."""

    @edit_payload
    def insert(_payload: Json, records: list[Json], _by: Circumstances) -> None:
        for record in records:
            record["response"] = {**(record.get("response") or {}), "info": [value], name: value}

    return insert


def insert_raw(raw: bytes, name: str) -> Mangle:
    """Like insert_in_response, for bytes that no JSON encoder would write."""
    insert = insert_in_response(_PLACEHOLDER, name)

    def mangle(reply: Reply, by: Circumstances) -> Reply:
        edited = insert(reply, by)
        return Reply(edited.status, edited.body.replace(json.dumps(_PLACEHOLDER).encode(), raw), edited.headers)

    return mangle


@edit_payload
def _speak_of_another(_payload: Json, records: list[Json], _by: Circumstances) -> None:
    for record in records:
        record["queueId"] = _STRANGER


@edit_payload
def _add_a_stranger(_payload: Json, records: list[Json], _by: Circumstances) -> None:
    records.extend([{**record, "queueId": _STRANGER, "status": "Rejected"} for record in records])


@edit_payload
def _contradict(_payload: Json, records: list[Json], _by: Circumstances) -> None:
    records.extend([{**record, "status": "Rejected"} for record in records])


@edit_payload
def _drop_records(_payload: Json, records: list[Json], _by: Circumstances) -> None:
    records.clear()


@edit_payload
def _invent_status(_payload: Json, records: list[Json], _by: Circumstances) -> None:
    for record in records:
        record["status"] = "Transmogrified"


@edit_payload
def _regress(_payload: Json, records: list[Json], by: Circumstances) -> None:
    for record in records if by.turn % 2 else []:
        record.update(status="Queued", processed=None, response=None)


def _double_keys(body: bytes) -> bytes:
    return body.replace(b'"status": "Approved"', b'"status": "Rejected", "status": "Approved"')


def _wrap_often(reply: Reply, _by: Circumstances) -> Reply:
    body = reply.body
    for _ in range(_WRAPPINGS):
        body = gzip.compress(body)
    return Reply(reply.status, body, (JSON_TYPE, ("Content-Encoding", ", ".join(["gzip"] * _WRAPPINGS))))


def _unpackable(reply: Reply, _by: Circumstances) -> Reply:
    return Reply(reply.status, reply.body, (JSON_TYPE, ("Content-Encoding", "gzip")))


BODY_FAULTS = (
    Fault("truncated", "JSON cut in half, with a fitting length", mangle=edit_bytes(lambda b: b[: len(b) // 2])),
    Fault("other", "the record of another queue ID", mangle=_speak_of_another),
    Fault("two", "two records, the second of another queue ID", mangle=_add_a_stranger),
    Fault("contradiction", "two records of the same queue ID that disagree", mangle=_contradict),
    Fault("none", "no record at all", mangle=_drop_records),
    Fault("unknownstatus", 'a status nobody knows: "Transmogrified"', mangle=_invent_status),
    Fault("regress", "final, then Queued, then final, in turns", mangle=_regress),
    Fault("nul", "U+0000 in texts", mangle=insert_in_response("nul \x00 here", "response"), tells_truth=True),
    Fault(
        "surrogate",
        "a lone surrogate in texts",
        mangle=insert_in_response(_HALF_PAIR, "response"),
        tells_truth=True,
    ),
    Fault("badutf8", "bytes that are no UTF-8", mangle=insert_raw(b'"\xff\xfe\xc3("', "response")),
    Fault("bom", "a byte order mark first", mangle=edit_bytes(lambda b: b"\xef\xbb\xbf" + b), tells_truth=True),
    Fault("nan", "NaN, as payout too", mangle=insert_raw(b"NaN", "payout")),
    Fault("bigint", "an int past 64 bits, as leadId too", mangle=insert_in_response(2**70, "leadId"), tells_truth=True),
    Fault("hugeint", "an integer of 5,000 digits, as leadId too", mangle=insert_raw(b"9" * 5000, "leadId")),
    Fault("deep", "lists nested 100,000 deep", mangle=insert_raw(b"[" * _DEPTH + b"]" * _DEPTH, "nested")),
    Fault("dupkeys", "each status twice, the second one true", mangle=edit_bytes(_double_keys), tells_truth=True),
    Fault("nested", "gzip in gzip, twelve times", mangle=_wrap_often),
    Fault("badgzip", "says gzip, is not", mangle=_unpackable),
)
