"""Which objects of an answer are records, and which of them are about our lead.

Documented: a list `records` when polled, `results` at the submission. Any other envelope here is our reading of what
APIs do; it is looked into because nothing is attributed by its place, only by the queue ID that it carries. Neighbour:
`worker.domain.classify`, which says what the record means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from worker.domain.values import JSON, Block, fold_key, fold_keys, read_text

QUEUE_ID_NAMES = ("queueid", "queueref", "queuereference")
# Also the names of the consumer's data: an envelope only where no other one holds records, see `list_envelopes`.
LEAD_DATA = ("lead", "leaddata", "leaddetails", "leadfields", "leadinfo", "data", "fields")
PRESENT = "leadfieldspresent"  # folded name of the list that the journal keeps in place of such a block
_NO_RECORDS = frozenset({*LEAD_DATA, PRESENT})
_ENVELOPES = (
    "records", "results", "record", "result", "response", "queue", "queues", "apiqueue", "items", "item", "list",
    "leads", "details",
)  # fmt: skip
_ORDINARY = frozenset({"status", "code", "message", "records"})
_PLAINEST = ("records", "results", "record")
_OTHER_ID_NAMES = ("id", "ref", "reference")  # of anything at all, so only our very ID in one of them counts
_HEX = re.compile(r"[0-9a-f]+(-[0-9a-f]+)*", re.ASCII | re.IGNORECASE)
_LIKE_A_QUEUE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4,8}){3,}", re.ASCII | re.IGNORECASE)
_DEEPEST = 5  # envelopes within envelopes


class Found(Struct, frozen=True, gc=False):
    """One record of any lead: its fields, what stands around it, and the queue ID it carries."""

    record: Block
    around: Block
    queue_id: str | None


def find_records(document: JSON, queue_id: str) -> list[Found]:
    """All records of an answer, of whichever lead; in a map by queue ID the key is the ID."""
    if isinstance(document, list):
        return list(_look_into(document, {}, queue_id, _DEEPEST))
    if not isinstance(document, dict):
        return []
    ordinary = _find_ordinary(document)
    return _find_anywhere(document, queue_id) if ordinary is None else [ordinary]


def _find_ordinary(document: dict[str, JSON]) -> Found | None:
    """The documented envelope with one record: found at once, and just as by looking everywhere."""
    records = document.get("records")
    if not isinstance(records, list) or len(records) != 1 or not document.keys() <= _ORDINARY:
        return None
    record = fold_keys(records[0])
    own = read_text(record.get("queueid"))
    beside = {name: value for name, value in document.items() if name != "records"}
    return None if own is None else Found(record, beside, own)


def _find_anywhere(document: dict[str, JSON], queue_id: str) -> list[Found]:
    root = fold_keys(document)
    found = list(_open_envelope(document, root, {}, queue_id, _DEEPEST))
    own = _read_queue_id(root, queue_id)
    if own is None or any(item.queue_id is not None for item in found):
        return found
    # The ID stands at the root: beside the one record, or in it.
    named = [item for name in _PLAINEST if name in root for item in _look_into(root[name], root, queue_id, _DEEPEST)]
    return [Found(named[0].record, root, own) if len(named) == 1 else Found(root, {}, own)]


def pick_ours(found: list[Found], queue_id: str) -> list[Found]:
    """The records that carry our ID; queue IDs are hex, so another case will do where no record has it exactly."""
    exact = [item for item in found if item.queue_id == queue_id]
    if exact or not _HEX.fullmatch(queue_id):
        return exact
    alike = [item for item in found if item.queue_id is not None and item.queue_id.casefold() == queue_id.casefold()]
    return alike if len({item.queue_id for item in alike}) == 1 else []


def list_envelopes(block: Block) -> list[str]:
    """The names in an object (no record itself) under which records may stand."""
    plain = [name for name in _ENVELOPES if isinstance(block.get(name), list | dict)]
    if any(holds_records(block[name]) for name in plain):
        return plain
    return plain + [name for name in LEAD_DATA if holds_records(block.get(name))]


def is_record(block: Block) -> bool:
    """Whether an object is a record, of whichever lead."""
    return any(read_text(block.get(name)) is not None for name in QUEUE_ID_NAMES)


def names_another(block: Block, queue_id: str) -> bool:
    """Whether a block names another lead than this one, beside it or in its place."""
    for name in QUEUE_ID_NAMES:
        value = block.get(name)
        if value is None or value == queue_id:
            continue
        text = read_text(value) or ""
        if text.casefold() != queue_id.casefold() and _LIKE_A_QUEUE_ID.fullmatch(text):
            return True
    return False


def holds_records(value: JSON, depth: int = _DEEPEST) -> bool:
    """Whether a value is, or holds, a record of any lead; it is told by its queue ID."""
    if isinstance(value, list):
        return depth > 0 and any(holds_records(item, depth - 1) for item in value)
    if not isinstance(value, dict) or depth == 0:
        return False
    block = fold_keys(value)
    if is_record(block) or any(_LIKE_A_QUEUE_ID.fullmatch(key) for key in value):
        return True
    inside = _list_mapped(value) or [block[name] for name in (*_ENVELOPES, *LEAD_DATA) if name in block]
    return any(holds_records(inner, depth - 1) for inner in inside)


def _open_envelope(value: dict[str, JSON], block: Block, around: Block, queue_id: str, depth: int) -> Iterator[Found]:
    envelopes = list_envelopes(block) if depth else []
    beside = {**around, **{name: inner for name, inner in block.items() if name not in envelopes}}
    for name in envelopes:
        yield from _look_into(block[name], beside, queue_id, depth - 1)
    if queue_id in value:
        yield from _open_map({queue_id: value[queue_id]}, {})


def _look_into(value: JSON, around: Block, queue_id: str, depth: int) -> Iterator[Found]:
    if isinstance(value, list):
        for item in value if depth else ():
            yield from _look_into(item, around, queue_id, depth if isinstance(item, dict) else depth - 1)
    if not isinstance(value, dict) or not value:
        return
    block = fold_keys(value)
    own = _read_queue_id(block, queue_id) or _read_id_in_response(block)
    if own is not None:
        yield Found(block, around, own)
    elif queue_id in value or any(_LIKE_A_QUEUE_ID.fullmatch(key) for key in value):
        yield from _open_map(value, around)
    elif not holds_records(value):
        yield Found(block, around, None)
    elif list_envelopes(block):
        yield from _open_envelope(value, block, around, queue_id, depth)
    else:  # a map by anything else
        yield from _look_into(_list_mapped(value), around, queue_id, depth)


def _open_map(value: dict[str, JSON], around: Block) -> Iterator[Found]:
    """A map by queue ID: of records, or of bare status words, as LeadByte's `details` are (documented for writes)."""
    for key, inner in value.items():
        block = fold_keys(inner) if isinstance(inner, dict) else {"status": inner}
        own = _read_queue_id(block, "")
        yield Found(block, around, key if own is None else own)


def _list_mapped(value: dict[str, JSON]) -> list[JSON]:
    """The objects of a map by anything; nothing where it is none. Lead data beside them is none of them."""
    inside = [inner for key, inner in value.items() if fold_key(key) not in _NO_RECORDS]
    return inside if all(isinstance(inner, dict) for inner in inside) else []


def _read_queue_id(block: Block, ours: str) -> str | None:
    for name in QUEUE_ID_NAMES:
        value = block.get(name)
        if value is not None and (text := read_text(value)) is not None:
            return text
    return ours if ours and any(block.get(name) == ours for name in _OTHER_ID_NAMES) else None


def _read_id_in_response(block: Block) -> str | None:
    """The ID of a record that carries it in its `response`, which tells no status beside it: that is the record's."""
    response = fold_keys(block.get("response"))
    return _read_queue_id(response, "") if "status" in block and "status" not in response else None
