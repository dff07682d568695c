"""Whether LeadByte holds a lead in quarantine, and under which quarantine ID: wherever in a record it says so.

Neither the word for it nor the place of the ID is documented. A held lead is never final, but people and rules act upon
the ID, so nothing is taken for one that is not called so. Neighbours: `worker.domain.classify`, `worker.domain.blocks`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from worker.domain.records import LEAD_DATA
from worker.domain.values import JSON, Block, fold_key, fold_keys, read_id, unwrap

# Words that say "held" of anything at all: of quarantine where a quarantine ID stands beside them.
HOLD_WORDS = frozenset(
    {"hold", "onhold", "held", "review", "inreview", "underreview", "heldforreview", "pendingreview"}
)
# "Released from quarantine", "Not quarantined", "Quarantine rejected": what they say instead is for a person to read.
_NO_LONGER = re.compile(
    r"releas|reject|process|approv|accept|delet|remov|expir|cancel|return|sold|nolonger|previous"
    r"|(not?|un|non|never|from|of|left|ex|pre)(in|the)?quarantin"
)
ID_NAMES = ("quarantineid", "quarantineref")
_BLOCK_NAMES = ("quarantine", "quarantines", "quarantineids")
# "Quarantine ID '2932682' queued for processing" is how LeadByte speaks of one (documented).
_SPOKEN_ID = re.compile(
    r"quarantin(?:e|ed)?\b\W{0,3}(?:lead\W{0,2})?(?:(?:id|ref|reference|no|number)\b|#)\W{0,4}(\d{1,20})\b"
    r"|quarantine_?id\W{0,4}(\d{1,20})\b",
    re.IGNORECASE | re.ASCII,
)
_STATUS_NAMES = ("status", "queuestatus", "leadstatus")
_DEEPEST = 4
_MOST_ITEMS = 20


def says_quarantined(word: str | None) -> bool:
    """Whether a status says that the lead is in quarantine now: `Quarantined`, `In Quarantine`, `quarantine_hold`."""
    if word is None or "quarantin" not in word.casefold():
        return False
    return _NO_LONGER.search(fold_key(word)) is None


def find_quarantine_id(places: Sequence[Block]) -> str | None:
    """The quarantine ID told in (record, response, root): by its name anywhere; deep inside only of a held lead.

    Of several different ones, which is the lead's is not told.
    """
    told = _read_first(read_id, places, ID_NAMES) or _read_first(_read_block, places, _BLOCK_NAMES)
    if told is not None or not any(_is_held(place) for place in places[:2]):
        return told
    for place in places:
        found = set(_look_inside(dict(place), _DEEPEST))
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _read_first(reader: Callable[[JSON], str | None], places: Sequence[Block], names: Sequence[str]) -> str | None:
    for place in places:
        for name in names:
            value = place.get(name)
            if value is not None and (told := reader(value)) is not None:
                return told
    return None


def list_held_ids(lead_data: JSON) -> dict[str, JSON]:
    """Of a block of the consumer's data, the fields that are LeadByte's own quarantine IDs."""
    block = lead_data if isinstance(lead_data, dict) else {}
    return {
        key: inner for key, inner in block.items() if fold_key(key) in ID_NAMES and (read_id(inner) or "").isdecimal()
    }


def _is_held(place: Block) -> bool:
    for name in _STATUS_NAMES:
        status = place.get(name)
        if status is not None and "quarantin" in str(status).casefold():
            return True
    return False


def _read_block(value: JSON) -> str | None:
    """The ID itself, or an object or list with it, and no other."""
    value = unwrap(value)
    if isinstance(value, dict):
        block = fold_keys(value)
        own = next((id_ for name in ("id", *ID_NAMES) if (id_ := read_id(block.get(name)))), None)
        return own or (_read_mapped(value) if len(value) == 1 else None)
    text = read_id(value)
    return text if text is not None and text.isdecimal() and text != "1" else None  # "1" is a flag


def _read_mapped(value: dict[str, JSON]) -> str | None:
    ((key, inner),) = value.items()
    return key if key.isdecimal() and isinstance(inner, dict | str) else _read_block(inner)


def _look_inside(value: JSON, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        for match in _SPOKEN_ID.finditer(value):
            yield match[1] or match[2]
    elif isinstance(value, list):
        for item in value[:_MOST_ITEMS] if depth else ():
            yield from _look_inside(item, depth - 1)
    elif isinstance(value, dict) and depth:
        for key, inner in value.items():
            yield from _look_under(fold_key(key), inner, depth)


def _look_under(name: str, value: JSON, depth: int) -> Iterator[str]:
    if name in LEAD_DATA:
        yield from filter(None, map(read_id, list_held_ids(value).values()))
        return
    if name in ID_NAMES or name == "quarantineleadid":
        told = read_id(value)
    else:
        told = _read_block(value) if name.startswith("quarantin") else None
    if told is not None:
        yield told
    else:
        yield from _look_inside(value, depth - 1)
