"""Which fields of the consumer's data LeadByte shows as filled: names alone, never a value.

The journal keeps these names in place of the block (`worker.leadbyte.wire`), so a reply read again tells the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from worker.domain.records import LEAD_DATA, PRESENT
from worker.domain.values import JSON, Block, fold_key, fold_keys, read_text

MOST_NAMES = 200
LONGEST_NAME = 80
# What a field is called; an address or a telephone number that stands where a name should is none.
_NAME = re.compile(r"[^\W\d][\w.\[\]]*")
_PLACES = frozenset({*LEAD_DATA, PRESENT})
_PAIR = frozenset({"name", "field", "key", "label", "id", "type", "value"})


def list_filled_fields(block: JSON) -> list[str]:
    """Names of the filled fields of a lead-data block, folded and sorted: an object, or a list of name and value."""
    if isinstance(block, list):
        return _bound({name for row in block if isinstance(row, dict) for name in _iterate_row(row)})
    return _bound(set(_iterate_filled(block))) if isinstance(block, dict) else []


def read_present_fields(places: Sequence[Block]) -> tuple[str, ...] | None:
    """The names told by the nearest place that tells any; empty: a block without a filled field; None: no block."""
    told = [names for place in places if (names := _read_place(place)) is not None]
    return next((names for names in told if names), told[0] if told else None)


def _read_place(place: Block) -> tuple[str, ...] | None:
    if _PLACES.isdisjoint(place):
        return None
    blocks = [place[name] for name in LEAD_DATA if isinstance(place.get(name), list | dict)]
    kept = place.get(PRESENT)
    if not blocks and not isinstance(kept, list):
        return None
    names = {name for block in blocks for name in list_filled_fields(block)}
    return tuple(_bound(names.union(_iterate_plain(kept) if isinstance(kept, list) else ())))


def _iterate_row(row: dict[str, JSON]) -> Iterable[str]:
    fields = fold_keys(row)
    if "value" in fields and fields.keys() <= _PAIR:
        names = (fields.get(name) for name in ("name", "field", "key", "label"))
        name = next((name for name in names if isinstance(name, str)), "")
        return _iterate_plain([name] if _is_filled(fields["value"]) else [])
    return _iterate_filled(row)


def _iterate_filled(row: dict[str, JSON]) -> Iterator[str]:
    return _iterate_plain(name for name, value in row.items() if _is_filled(value))


def _is_filled(value: JSON) -> bool:
    return bool(value) if isinstance(value, list | dict) else isinstance(value, bool) or read_text(value) is not None


def _iterate_plain(names: Iterable[JSON]) -> Iterator[str]:
    for name in names:
        if isinstance(name, str) and (plain := _fold_plain(name[: LONGEST_NAME + 1])) is not None:
            yield plain


@lru_cache(maxsize=1024)
def _fold_plain(name: str) -> str | None:
    folded = fold_key(name)
    return folded if len(name) <= LONGEST_NAME >= len(folded) and _NAME.fullmatch(folded) else None


def _bound(names: set[str]) -> list[str]:
    return sorted(names)[:MOST_NAMES]
