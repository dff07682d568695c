"""Where LeadByte puts a record's facts, and how they are read.

Places are undocumented except for buyers (see `worker.domain.rows`), so every block is looked for at the record, in
`response` and at the root. Neighbour: `worker.domain.classify`, which decides what the lead's state is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from worker.domain.facts import Facts, Named
from worker.domain.lead_fields import read_present_fields
from worker.domain.records import LEAD_DATA
from worker.domain.rows import read_buyers, read_deliveries
from worker.domain.values import (
    JSON,
    Block,
    fold_key,
    fold_keys,
    read_currency,
    read_currency_of,
    read_flag,
    read_id,
    read_int,
    read_moment,
    read_money,
    read_text,
    read_word,
)

Told = TypeVar("Told")
_STAMPS = ("processed", "processedat", "timestamp")
# "Quarantine ID '2932682' queued for processing" is how LeadByte speaks of one (documented).
_QUARANTINE_ID = re.compile(r"quarantine[ -]?id\W{0,4}(\d{1,20})\b", re.IGNORECASE | re.ASCII)
_QUARANTINE_BLOCKS = ("quarantine", "quarantined", "quarantinedetails", "info", "details")


def read_facts(places: Sequence[Block]) -> Facts:
    """All facts the places tell, nearest place first: (record, response, root)."""
    own = places[:2]
    payout_word = _read(_read_payout_word, places, "payout")
    code, lead_id = _read(read_int, own, "code"), _read(read_id, own, "leadid")
    return Facts(
        campaign_accepted=show_acceptance(code, lead_id),
        result_code=code,
        result_reason=_read(read_text, own, "response", "reason", "message"),
        lead_id=lead_id,
        rejection_id=_read(read_id, own, "rejectionid"),
        campaign=_read_named(places, "campaign", "campaignid"),
        supplier=_read_named(places, "supplier", "supplierid", "sid"),
        sold=_read(read_flag, own, "sold", "issold"),
        buyers=read_buyers(places),
        deliveries=read_deliveries(places),
        revenue=_read(read_money, places, "revenue"),
        payout=_read(read_money, places, "payout"),
        payout_pending=None if payout_word is None else payout_word == "pending",
        currency=_read(read_currency, places, "currency") or _read(read_currency_of, places, "revenue", "payout"),
        quarantine_id=_read_quarantine_id(places),
        processed_at=_read(_read_stamp, own, *_STAMPS),
        processed_raw=_read(_read_raw_stamp, own, *_STAMPS),
        fields_present=read_present_fields(places),
    )


def show_acceptance(code: int | None, lead_id: str | None) -> bool | None:
    """Whether code and lead ID alone show that the campaign took the lead, or refused it."""
    if lead_id is not None and (code is None or code > 0):
        return True
    return False if code is not None and code < 0 else None


def _read(reader: Callable[[JSON], Told | None], places: Sequence[Block], *names: str) -> Told | None:
    """What the reader makes of the first value that tells it something: an empty marker hides nothing behind it."""
    for place in places:
        for name in names:
            value = place.get(name)
            if value is not None:
                told = reader(value)
                if told is not None:
                    return told
    return None


def _read_payout_word(value: JSON) -> str | None:
    if isinstance(value, dict):
        return _read(read_word, [fold_keys(value)], "status", "amount", "value")
    return read_word(value)


def _read_stamp(value: JSON) -> datetime | None:
    return read_moment(_open_stamp(value))


def _read_raw_stamp(value: JSON) -> str | None:
    return read_text(_open_stamp(value))


def _open_stamp(value: JSON) -> JSON:
    """PHP writes a moment as `{"date": …, "timezone_type": …, "timezone": …}`; another zone than UTC is left alone."""
    if not isinstance(value, dict):
        return value
    inner = fold_keys(value)
    date, zone = read_text(inner.get("date")), read_text(inner.get("timezone")) or ""
    return date if date is None or zone in {"", "UTC", "Z", "GMT", "+00:00"} else f"{date} {zone}"


def _read_quarantine_id(places: Sequence[Block]) -> str | None:
    told = _read(read_id, places, "quarantineid", "quarantineref")
    told = told or _read(_read_quarantine, places, "quarantine", "quarantines", "quarantineids")
    if told is not None or not any(_is_quarantine_told(place.get("status")) for place in places[:2]):
        return told
    return _read(_find_quarantine_id, places, *_QUARANTINE_BLOCKS, "response", "message", "reason")


def _is_quarantine_told(status: JSON) -> bool:
    return isinstance(status, str) and "quarantin" in status.casefold()


def _read_quarantine(value: JSON) -> str | None:
    """The ID itself, or an object or list with it."""
    if isinstance(value, list):
        return _read_quarantine(value[0]) if len(value) == 1 else None  # of several, which one is held is not told
    block = _open_block(value)
    if block is not None:
        return _read(read_id, [block], "id", "quarantineid")
    text = read_id(value)
    return text if text is not None and text.isdecimal() and text != "1" else None  # "1" is a flag


def _find_quarantine_id(value: JSON) -> str | None:
    if isinstance(value, list):
        return next((id_ for item in value[:20] if (id_ := _find_quarantine_id(item)) is not None), None)
    if isinstance(value, dict):
        block = fold_keys(value)
        return _read(read_id, [block], "quarantineid") or _read(_read_quarantine, [block], "quarantine")
    match = _QUARANTINE_ID.search(value) if isinstance(value, str) else None
    return match and match[1]


def _read_named(places: Sequence[Block], block: str, *flat_ids: str) -> Named | None:
    inner = _read(_open_block, places, block, block + "s")
    around = places if inner is None else [inner, *places]
    id_ = None if inner is None else _read(read_id, [inner], "id", "reference", "sid")
    name = None if inner is None else _read(read_text, [inner], "name")
    id_ = id_ or _read(read_id, around, *flat_ids)
    name = name or _read(read_text, around, block + "name") or _read(read_text, places, block)
    if id_ is None and name is not None and name.isdecimal():
        id_, name = read_id(name), None  # `"campaign": 565`
    return None if id_ is None and name is None else Named(id_, name)


def _open_block(value: JSON) -> Block | None:
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict) and len(value) == 1:
        ((key, inner),) = value.items()
        if (
            isinstance(inner, dict) and fold_key(key) not in LEAD_DATA
        ):  # a map by ID; the row's own ID wins over the key
            block = fold_keys(inner)
            return {**block, "id": key} if key.isdecimal() and read_id(block.get("id")) is None else block
        if isinstance(inner, str) and key.isdecimal():
            return {"id": key, "name": inner}
    return fold_keys(value) or None
