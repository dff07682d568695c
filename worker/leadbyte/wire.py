"""From bytes to JSON that is safe to handle and to store, whatever was sent.

What Postgres or Python would choke on is dealt with here and nowhere else: bad UTF-8, byte-order marks, NUL, lone
surrogates, NaN, integers of any length, bottomless nesting. Each is tamed, none raises.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable

from msgspec import Struct

from worker.domain.complaints import SPOKEN
from worker.domain.lead_fields import list_filled_fields
from worker.domain.quarantined import list_held_ids
from worker.domain.records import LEAD_DATA, PRESENT, is_record, list_envelopes
from worker.domain.values import JSON, Block, agree, fold_key, fold_keys

DEEPEST = 32  # levels; LeadByte's replies have five
_DEEPEST_STRING = 8  # levels down to which a string may be JSON itself
LONGEST_INT = 18  # digits that fit bigint; a longer one stays text
# Characters the journal keeps of a web page or other garbage, of which the beginning tells enough. JSON is never cut:
# it could not be persisted any more. The cap on bodies (worker/leadbyte/transport.py) bounds it.
OTHER_CAP = 16 * 1024

# What Postgres' text cannot hold: NUL, and halves of surrogate pairs that no UTF-8 has.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# The name under which the journal keeps the names of the fields that a lead-data block had filled.
_PRESENT_NAME = "leadFieldsPresent"
# A field that may be such a block, in a text without the blanks that `fold_key` takes out.
_LEAD_DATA_KEY = re.compile(f'"({"|".join(LEAD_DATA)})":')
_NO_BLANKS = str.maketrans("", "", " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f_-")
# Blocks of others than the consumer: what is called "data" or "fields" in them is theirs.
_LEFT_ALONE = frozenset(
    ["buyer", "buyers", "delivery", "deliveries", "campaign", "campaigns", "supplier", "suppliers", *SPOKEN]
)


class Decoded(Struct, frozen=True, gc=False):
    """A body, readable: `document` is None where it was no JSON; `text` is the body in any case.

    `is_plain`: the text is this JSON and nothing else, in ASCII and without escapes, so it can be kept as it is.
    `is_ordinary`: moreover, its shape is known to have no lead data; the document was not needed, and is None.
    """

    document: JSON
    text: str
    is_json: bool
    is_plain: bool = False
    is_ordinary: bool = False


def decode_body(body: bytes) -> Decoded:
    """Read a body of any content; never raises."""
    return decode_text(body.decode("utf-8-sig", errors="replace"))


def decode_text(text: str) -> Decoded:
    """Read a body that is text already, as the journal keeps it."""
    is_plain = text.isascii() and "\\" not in text
    # Which lead a record is about must not depend on which of two IDs a parser takes; looking costs too much for all.
    decoder = _DECODER if text.count('"queueId"') < 2 else _CAREFUL_DECODER  # noqa: PLR2004
    try:
        document = decoder.decode(text)
    except (ValueError, RecursionError):
        is_plain, document = False, _find_object(text, decoder)
        if document is None:
            return Decoded(None, make_storable(text), is_json=False)
    if '\\"' in text:
        document = _open_strings(document, _DEEPEST_STRING)
    # Without an escape or a sign beyond ASCII no string can hold what has to be replaced, and most bodies have neither.
    if text.isascii() and "\\u" not in text:
        is_shallow = text.count("{") + text.count("[") <= DEEPEST or _is_shallow(document, DEEPEST)
        if is_shallow:
            return Decoded(document, text, is_json=True, is_plain=is_plain)
        return Decoded(_tame(document, DEEPEST), text, is_json=True)
    return Decoded(_tame(document, DEEPEST), make_storable(text), is_json=True)


def _open_strings(value: JSON, depth: int) -> JSON:
    """With the JSON opened that stands within JSON strings, as a `response` may be quoted whole."""
    if isinstance(value, str):
        opened = _open_string(value) if value.lstrip()[:1] in {"{", "["} else value
        return opened if isinstance(opened, str) or not depth else _open_strings(opened, depth - 1)
    if isinstance(value, dict) and depth:
        return {key: _open_strings(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list) and depth:
        return [_open_strings(inner, depth - 1) for inner in value]
    return value


def _open_string(text: str) -> JSON:
    try:
        document = _CAREFUL_DECODER.decode(text)
    except (ValueError, RecursionError):
        return text
    return document if isinstance(document, dict | list) else text


def _find_object(text: str, decoder: json.JSONDecoder) -> JSON:
    """The one JSON object that the text ends with; None where there is none, or something follows it.

    Only the first brace that may begin one is tried: an inner object of a broken one is not the answer.
    """
    start = _OBJECT.search(text)
    if start is None or text[: start.start()].rstrip().endswith(("[", ",", ":")):
        return None
    try:
        document, end = decoder.raw_decode(text, start.start())
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and not text[end:].strip() else None


def keep_ordinary(body: bytes) -> Decoded:
    """A body that `worker.domain.ordinary` has read, for the journal alone."""
    return Decoded(None, body.decode("ascii"), is_json=True, is_plain=True, is_ordinary=True)


def make_storable(text: str) -> str:
    """The text with what Postgres cannot hold replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def prepare_for_journal(decoded: Decoded, *, keep_lead_data: bool) -> tuple[str, str | None]:
    """The body as the journal keeps it, and what was cut out of it, if anything."""
    if decoded.is_plain and (decoded.is_ordinary or keep_lead_data or not _may_hold_lead_data(decoded.text)):
        return decoded.text, None
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


def _may_hold_lead_data(text: str) -> bool:
    return _LEAD_DATA_KEY.search(text.translate(_NO_BLANKS).lower()) is not None


def _read_int(digits: str) -> int | str:
    return int(digits) if len(digits.lstrip("-")) <= LONGEST_INT else digits


def _read_float(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None  # 1e999 is no number of anything


def _is_shallow(value: JSON, depth: int) -> bool:
    """Whether nothing is nested so deep that taming would leave it out."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_shallow(inner, depth - 1) for inner in inside if isinstance(inner, dict | list))


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


def _drop_lead_data(value: JSON, *, is_inside: bool = False) -> JSON:
    """With each lead-data block replaced by the names of its filled fields (and quarantine IDs), wherever it stands.

    `is_inside`: within a record, where such a name can mean nothing else; outside it may be an envelope of records.
    """
    if isinstance(value, list):
        return [_drop_lead_data(inner, is_inside=is_inside) for inner in value]
    if not isinstance(value, dict):
        return value
    block = fold_keys(value)
    is_inside = is_inside or is_record(block)
    dropped = set(LEAD_DATA) & block.keys()
    if dropped and not is_inside:
        dropped -= set(list_envelopes(block))
    kept = {
        key: inner if name in _LEFT_ALONE else _drop_lead_data(inner, is_inside=is_inside)
        for key, inner in value.items()
        if (name := fold_key(key)) not in dropped
    }
    held = {key: ids for key, inner in value.items() if fold_key(key) in dropped and (ids := list_held_ids(inner))}
    kept.update(held)
    told = [block[name] for name in dropped if isinstance(block[name], list | dict)]
    return {**kept, _PRESENT_NAME: _list_present(told, block)} if told else kept


def _list_present(told: list[JSON], block: Block) -> JSON:
    before = block.get(PRESENT)
    names = {name for inner in told for name in list_filled_fields(inner)}
    return [*sorted(names), *(before if isinstance(before, list) else [])]


def _agree_on_names(pairs: list[tuple[str, JSON]]) -> JSON:
    """An object; of a name that it tells twice with different values, nothing is told."""
    block = dict(pairs)
    if len(block) < len(pairs):
        return {name: agree([inner for key, inner in pairs if key == name]) for name in block}
    return block


def _make_decoder(object_pairs_hook: Callable[[list[tuple[str, JSON]]], JSON] | None = None) -> json.JSONDecoder:
    return json.JSONDecoder(
        parse_int=_read_int,
        parse_float=_read_float,
        parse_constant=lambda _: None,
        object_pairs_hook=object_pairs_hook,
    )


# Made once: `json.loads` with arguments makes a decoder for every call.
_DECODER, _CAREFUL_DECODER = _make_decoder(), _make_decoder(_agree_on_names)
_OBJECT = re.compile(r'\{\s*["}]')
