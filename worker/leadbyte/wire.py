"""From bytes to JSON that is safe to handle and to store, whatever was sent.

What Postgres or Python would choke on is dealt with here and nowhere else: bad UTF-8, byte-order marks, NUL, lone
surrogates, NaN, integers of any length, bottomless nesting. Each is tamed, none raises.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from worker.domain.values import JSON

DEEPEST = 32  # levels; LeadByte's replies have five
LONGEST_INT = 18  # digits that fit bigint; a longer one stays text
JSON_CAP = 1024 * 1024  # characters of a reply that the journal keeps: more than any lead's reply has …
OTHER_CAP = 16 * 1024  # … and of a web page or other garbage, of which the beginning tells enough

# What Postgres' text cannot hold: NUL, and halves of surrogate pairs that no UTF-8 has.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# The blocks that hold the consumer's data (documented: "lead data" can be appended; its name and place are not).
_LEAD_DATA = frozenset({"lead", "leaddata", "leaddetails", "data", "fields"})
_PLACES = frozenset({"records", "results", "record", "response"})


@dataclass(frozen=True, slots=True)
class Decoded:
    """A body, readable: `document` is None where it was no JSON; `text` is its beginning in any case."""

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
    cap = JSON_CAP if decoded.is_json else OTHER_CAP
    if len(body) > cap:
        cuts.append(f"{len(body) - cap} of {len(body)} characters")
        body = body[:cap]
    return body, ", ".join(cuts) or None


def _read_int(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONGEST_INT else digits


def _tame(value: JSON, depth: int) -> JSON:
    if isinstance(value, str):
        return make_storable(value)
    if depth == 0:
        return None  # nothing of a lead stands this deep
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
    return {
        key: _drop_lead_data(inner) if key.casefold() in _PLACES else inner
        for key, inner in value.items()
        if key.replace("_", "").casefold() not in _LEAD_DATA
    }
