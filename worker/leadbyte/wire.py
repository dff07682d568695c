"""From bytes to JSON that is safe to handle and to store, whatever was sent.

What Postgres or Python would choke on is dealt with here and nowhere else: bad UTF-8, byte-order marks, NUL, lone
surrogates, NaN, integers of any length, bottomless nesting. Each is tamed, none raises.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

from worker.domain.values import JSON, fold_key

DEEPEST = 32  # levels; LeadByte's replies have five
LONGEST_INT = 18  # digits that fit bigint; a longer one stays text
# Characters the journal keeps of a web page or other garbage, of which the beginning tells enough. JSON is never cut:
# it could not be persisted any more. The cap on bodies (worker/leadbyte/transport.py) bounds it.
OTHER_CAP = 16 * 1024

# What Postgres' text cannot hold: NUL, and halves of surrogate pairs that no UTF-8 has.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# The blocks that hold the consumer's data (documented: "lead data" can be appended; its name and place are not).
_LEAD_DATA = frozenset({"lead", "leaddata", "leaddetails", "leadfields", "leadinfo", "data", "fields"})
_PLACES = frozenset({"records", "results", "record", "response"})
_MAPS = frozenset({"records", "results"})  # a map of records by id is read, so it is looked through as well …
_RECORD_IDS = frozenset({"queueid", "queueref"})  # … unless it is one record


@dataclass(frozen=True, slots=True)
class Decoded:
    """A body, readable: `document` is None where it was no JSON; `text` is the body in any case."""

    document: JSON
    text: str
    is_json: bool


def decode_body(body: bytes) -> Decoded:
    """Read a body of any content; never raises."""
    return decode_text(body.decode("utf-8-sig", errors="replace"))


def decode_text(text: str) -> Decoded:
    """Read a body that is text already, as the journal keeps it."""
    try:
        document = _tame(json.loads(text, parse_int=_read_int, parse_constant=lambda _: None), DEEPEST)
    except (ValueError, RecursionError):
        return Decoded(None, make_storable(text), is_json=False)
    return Decoded(document, make_storable(text), is_json=True)


def describe_shape(document: JSON) -> str:
    """The document with every value but status words replaced by its kind: safe to show to anybody."""
    return json.dumps(_redact(document), ensure_ascii=False)[:OTHER_CAP]


def _redact(value: JSON, key: str = "") -> JSON:
    if isinstance(value, dict):
        return {name[:40]: _redact(inner, name) for name, inner in list(value.items())[:50]}
    if isinstance(value, list):
        return [_redact(inner) for inner in value[:3]]
    if key.casefold() == "status" or value is None or isinstance(value, bool):
        return value
    return "text" if isinstance(value, str) else "number"


def make_storable(text: str) -> str:
    """The text with what Postgres cannot hold replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def prepare_for_journal(decoded: Decoded, *, keep_lead_data: bool) -> tuple[str, str | None]:
    """The body as the journal keeps it, and what was cut out of it, if anything."""
    cuts = []
    if decoded.is_json:
        document = decoded.document if keep_lead_data else _drop_lead_data(decoded.document)
        if document != decoded.document:
            cuts.append("lead data")
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    else:
        body = decoded.text
    if not decoded.is_json and len(body) > OTHER_CAP:
        cuts.append(f"{len(body) - OTHER_CAP} of {len(body)} characters")
        body = body[:OTHER_CAP]
    return body, ", ".join(cuts) or None


def _read_int(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONGEST_INT else digits


def _tame(value: JSON, depth: int) -> JSON:
    if isinstance(value, str):
        return make_storable(value)
    if depth == 0 or (isinstance(value, float) and not math.isfinite(value)):
        return None  # nothing of a lead stands this deep; 1e999 is no number of anything
    if isinstance(value, dict):
        return {make_storable(key): _tame(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_tame(inner, depth - 1) for inner in value]
    return value


def _drop_lead_data(value: JSON) -> JSON:
    """Without the lead-data block, at the root, in each record and in its response; other blocks are left alone."""
    if isinstance(value, list):
        return [_drop_lead_data(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {key: _drop_inside(fold_key(key), inner) for key, inner in value.items() if fold_key(key) not in _LEAD_DATA}


def _drop_inside(name: str, value: JSON) -> JSON:
    if name in _MAPS and isinstance(value, dict) and not _RECORD_IDS & {fold_key(key) for key in value}:
        value = {key: _drop_lead_data(inner) for key, inner in value.items()}
    return _drop_lead_data(value) if name in _PLACES else value
