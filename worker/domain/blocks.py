"""Where LeadByte puts a record's facts, and how they are read.

Places are undocumented except for buyers (see `worker.domain.rows`), so every block is looked for at the record, in
`response` and at the root. Neighbour: `worker.domain.classify`, which decides what the lead's state is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from worker.domain.complaints import join_words
from worker.domain.facts import Facts, Named
from worker.domain.lead_fields import read_present_fields
from worker.domain.quarantined import find_quarantine_id
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
    unwrap,
)

Told = TypeVar("Told")
_STAMPS = ("processed", "processedat", "timestamp")


def read_facts(places: Sequence[Block]) -> Facts:
    """All facts the places tell, nearest place first: (record, response, root)."""
    own = places[:2]
    payout_word = _read(_read_payout_word, places, "payout")
    payout = _read(read_money, places, "payout")
    code, lead_id = _read(read_int, own, "code"), _read(read_id, own, "leadid")
    return Facts(
        campaign_accepted=show_acceptance(code, lead_id),
        result_code=code,
        result_reason=_read(read_text, own, "response", "reason", "message") or _read_refusal(own, code),
        lead_id=lead_id,
        rejection_id=_read(read_id, own, "rejectionid"),
        campaign=_read_named(places, "campaign", "campaignid"),
        supplier=_read_named(places, "supplier", "supplierid", "sid"),
        sold=_read(read_flag, own, "sold", "issold"),
        buyers=read_buyers(places),
        deliveries=read_deliveries(places),
        revenue=_read(read_money, places, "revenue"),
        payout=payout,
        payout_pending=_is_pending(payout_word, payout),
        currency=_read(read_currency, places, "currency") or _read(read_currency_of, places, "revenue", "payout"),
        quarantine_id=find_quarantine_id(places),
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


def _read_refusal(own: Sequence[Block], code: int | None) -> str | None:
    """`info` is nothing, a text, a list of texts or an object of them (documented); of a refusal it may be all."""
    return _read(_read_words, own, "info", "errors") if code is not None and code < 0 else None


def _read_words(value: JSON) -> str | None:
    return read_text(join_words(value))


def _is_pending(word: str | None, payout: Decimal | None) -> bool | None:
    """None: of the payout nothing is told that we understand."""
    if word is not None and word.startswith("pending"):
        return True
    return None if payout is None else False


def _read_payout_word(value: JSON) -> str | None:
    value = unwrap(value)
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


def _read_named(places: Sequence[Block], block: str, *flat_ids: str) -> Named | None:
    inner = _read(_open_block, places, block, block + "s")
    around = places if inner is None else [inner, *places]
    id_ = None if inner is None else _read(read_id, [inner], "id", *flat_ids, "reference", "sid")
    name = None if inner is None else _read(read_text, [inner], "name", block + "name", "title", "company")
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
