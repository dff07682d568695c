"""Where LeadByte puts buyers, deliveries, campaign and supplier in a record, and how a block becomes rows.

Field names and places are undocumented except `response.buyers`, `record.buyers` and root `buyers` (seen in one
production client), so every block is looked for at the record, in `response` and at the root, in singular and plural,
as an object, a list, or a map by id. Neighbour: `worker.domain.classify`, which decides what the lead's state is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from worker.domain.facts import Buyer, Delivery, Facts, Named, Row
from worker.domain.values import (
    JSON,
    fold_key,
    read_currency,
    read_id,
    read_int,
    read_moment,
    read_money,
    read_text,
    read_word,
)

Block = Mapping[str, JSON]
Told = TypeVar("Told")
MOST_ROWS = 200  # buyers or deliveries read of one lead; a longer list is no answer about one lead
LONGEST_KEY = 500  # characters; Postgres' index takes no key of more than 2,700 bytes


def fold_keys(value: JSON) -> Block:
    """An object with its keys in one spelling, see `fold_key`."""
    return {fold_key(key): inner for key, inner in value.items()} if isinstance(value, dict) else {}


def read_facts(places: Sequence[Block]) -> Facts:
    """All facts the places tell, nearest place first: (record, response, root)."""
    own = places[:2]
    stamps = ("processed", "processedat", "timestamp")
    payout_word = _read(read_word, places, "payout")
    return Facts(
        result_code=_read(read_int, own, "code"),
        result_reason=_read(read_text, own, "response", "reason", "message"),
        lead_id=_read(read_id, own, "leadid"),
        rejection_id=_read(read_id, own, "rejectionid"),
        campaign=_read_named(places, "campaign", "campaignid"),
        supplier=_read_named(places, "supplier", "supplierid", "sid"),
        buyers=_read_buyers(places),
        deliveries=_read_deliveries(places),
        revenue=_read(read_money, places, "revenue"),
        payout=_read(read_money, places, "payout"),
        payout_pending=None if payout_word is None else payout_word == "pending",
        currency=_read(read_currency, places, "currency"),
        quarantine_id=_read_quarantine_id(places),
        processed_at=_read(read_moment, own, *stamps),
        processed_raw=_read(read_text, own, *stamps),
    )


def _read(reader: Callable[[JSON], Told | None], places: Sequence[Block], *names: str) -> Told | None:
    """What the reader makes of the first value that tells it something: an empty marker hides nothing behind it."""
    values = (reader(place.get(name)) for place in places for name in names)
    return next((value for value in values if value is not None), None)


def _read_quarantine_id(places: Sequence[Block]) -> str | None:
    return _read(read_id, places, "quarantineid") or _read(
        lambda block: read_id(fold_keys(block).get("id")), places, "quarantine"
    )


def _read_named(places: Sequence[Block], block: str, *flat_ids: str) -> Named | None:
    inner = _read(_open_block, places, block) or {}
    named = Named(
        id=_read(read_id, [inner], "id", "reference", "sid") or _read(read_id, [inner, *places], *flat_ids),
        name=_read(read_text, [inner], "name")
        or _read(read_text, [inner, *places], block + "name")
        or _read(read_text, places, block),
    )
    return None if named == Named() else named


def _open_block(value: JSON) -> Block | None:
    return fold_keys(value[0] if isinstance(value, list) and value else value) or None


def _read_buyers(places: Sequence[Block]) -> tuple[Buyer, ...] | None:
    rows = _find_rows(places, "buyers", "buyer")
    return None if rows is None else _number_twins(_read_buyer(row) for row in rows)


def _read_deliveries(places: Sequence[Block]) -> tuple[Delivery, ...] | None:
    rows = _find_rows(places, "deliveries", "delivery")
    return None if rows is None else _number_twins(_read_delivery(row) for row in rows)


def _read_buyer(row: Block) -> Buyer:
    buyer = Buyer(
        key="",
        id=_read(read_id, [row], "id", "buyerid"),
        bid=_read(read_id, [row], "bid", "reference", "buyerreference"),
        name=_read(read_text, [row], "name", "company", "buyername"),
        status=_read(read_text, [row], "status", "result"),
        revenue=_read(read_money, [row], "revenue", "price", "amount"),
        currency=_read(read_currency, [row], "currency"),
    )
    return replace(buyer, key=buyer.id or buyer.bid or buyer.name or "?")


def _read_delivery(row: Block) -> Delivery:
    inner = fold_keys(row.get("buyer"))
    delivery = Delivery(
        key="",
        id=_read(read_id, [row], "id", "deliveryid"),
        name=_read(read_text, [row], "name", "reference", "deliveryname"),
        buyer_id=_read(read_id, [row], "buyerid") or read_id(inner.get("id")) or _read(read_id, [row], "bid"),
        status=_read(read_text, [row], "status", "result"),
        reason=_read(read_text, [row], "reason", "response", "message"),
        revenue=_read(read_money, [row], "revenue", "price"),
    )
    return replace(delivery, key=delivery.id or f"{delivery.name or '?'}/{delivery.buyer_id or '?'}")


def _find_rows(places: Sequence[Block], plural: str, singular: str) -> list[Block] | None:
    """The rows of the nearest block that has any; none where every block is empty; None where there is no block."""
    blocks = [place.get(name) for name in (plural, singular) for place in places]
    told = [list(islice(_iterate_rows(block), MOST_ROWS)) for block in blocks if _is_told(block)]
    return next((rows for rows in told if rows), [] if told else None)


def _is_told(block: JSON) -> bool:
    return isinstance(block, list | dict) or read_text(block) is not None


def _iterate_rows(value: JSON) -> Iterator[Block]:
    if isinstance(value, list):
        for item in value:
            yield from _iterate_rows(item)
    elif isinstance(value, dict):
        if value and all(isinstance(inner, dict) for inner in value.values()):
            # A map by id. The row's own id wins over the key it stands under.
            for key, inner in value.items():
                row = fold_keys(inner)
                yield row if _read(read_id, [row], "id") else {**row, "id": key}
        elif value:
            yield fold_keys(value)
    elif (name := read_text(value)) is not None:
        yield {"name": name}


def _number_twins(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows under unique keys: the same row twice is one row, two different ones under one key are numbered."""
    by_key: dict[str, Row] = {}
    for row in rows:
        key, number = row.key[:LONGEST_KEY], 1
        while key in by_key and replace(by_key[key], key=row.key) != row:
            number += 1
            key = f"{row.key[:LONGEST_KEY]}#{number}"
        by_key[key] = replace(row, key=key)
    return tuple(by_key.values())
