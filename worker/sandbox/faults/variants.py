"""Faults that are none: true answers in odd clothes that a tolerant reader understands all the same."""

from __future__ import annotations

from worker.sandbox.faults.bodies import edit_payload
from worker.sandbox.faults.kinds import Circumstances, Fault
from worker.sandbox.shapes import Json

_BLOCKS = ("buyers", "deliveries", "campaign", "supplier", "lead")
_ODD_TIMES = ("0000-00-00 00:00:00", "17/11/2022 16:03", "9999-12-31T23:59:59Z", "2022-11-17T16:03:04")


def _holders(payload: Json, records: list[Json]) -> list[Json]:
    """Every object that may carry blocks."""
    return [payload, *records, *(record["response"] for record in records if record.get("response"))]


@edit_payload
def _drop_blocks(payload: Json, records: list[Json], _by: Circumstances) -> None:
    for holder in _holders(payload, records):
        for block in _BLOCKS:
            holder.pop(block, None)


@edit_payload
def _empty_blocks(payload: Json, records: list[Json], _by: Circumstances) -> None:
    for holder in _holders(payload, records):
        holder.update({block: [] for block in _BLOCKS if block in holder})


@edit_payload
def _move_blocks(payload: Json, records: list[Json], _by: Circumstances) -> None:
    for holder in _holders(payload, records)[1:]:
        payload.update({block: holder.pop(block) for block in _BLOCKS if block in holder})


@edit_payload
def _unlist_blocks(payload: Json, records: list[Json], _by: Circumstances) -> None:
    for holder in _holders(payload, records):
        sold = [entry for entry in holder.pop("buyers", []) if entry["status"] == "Sold"]
        if sold:
            holder["buyer"] = sold[0]


@edit_payload
def _number_money(payload: Json, records: list[Json], _by: Circumstances) -> None:
    for holder in _holders(payload, records):
        for buyer in holder.get("buyers", []):
            buyer.update(revenue=float(buyer["revenue"]), id=str(buyer["id"]))
        if "leadId" in holder:
            holder["leadId"] = str(holder["leadId"])


@edit_payload
def _blank_money(payload: Json, records: list[Json], by: Circumstances) -> None:
    words = ("", "N/A", "Pending", "-", "null", "1,234.56")
    for holder in _holders(payload, records):
        for buyer in holder.get("buyers", []):
            buyer["revenue"] = words[by.turn % len(words)]


@edit_payload
def _spoil_times(_payload: Json, records: list[Json], by: Circumstances) -> None:
    for record in records:
        record["processed"] = _ODD_TIMES[by.turn % len(_ODD_TIMES)]


@edit_payload
def _rename_keys(payload: Json, records: list[Json], _by: Circumstances) -> None:
    for record in records:
        record["queueRef"] = record.pop("queueId")
        record["status"] = record["status"].upper()
    if "records" in payload:
        payload["results"] = payload.pop("records")


VARIANT_FAULTS = (
    Fault("absent", "no block is appended", mangle=_drop_blocks, tells_truth=True),
    Fault("emptyblocks", "every block is an empty list", mangle=_empty_blocks, tells_truth=True),
    Fault("elsewhere", "blocks at the root of the answer", mangle=_move_blocks, tells_truth=True),
    Fault("objectblocks", "one `buyer` object in place of the list", mangle=_unlist_blocks, tells_truth=True),
    Fault("numbers", "money as numbers, ids as strings", mangle=_number_money, tells_truth=True),
    Fault("oddmoney", 'revenue "", N/A, Pending, -, null, 1,234.56 in turns', mangle=_blank_money, tells_truth=True),
    Fault("oddtimes", "zero dates, far years, no zone, in turns", mangle=_spoil_times, tells_truth=True),
    Fault("renamed", "`results` and `queueRef`, STATUS in capitals", mangle=_rename_keys, tells_truth=True),
)
