"""Where LeadByte puts buyers, deliveries, campaign and supplier in a record, and how a block becomes rows.

Field names and places are undocumented except `response.buyers`, `record.buyers` and root `buyers` (seen in one
production client), so every block is looked for at the record, in `response` and at the root, in singular and plural,
as an object, a list, or a map by id. Neighbour: `worker.domain.classify`, which decides what the lead's state is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from worker.domain.facts import Buyer, Delivery, Facts, Named, Row
from worker.domain.values import (
    JSON,
    read_currency,
    read_id,
    read_int,
    read_moment,
    read_money,
    read_text,
    read_word,
)

Block = Mapping[str, JSON]
MOST_ROWS = 200  # buyers or deliveries read of one lead; a longer list is no answer about one lead


def fold_keys(value: JSON) -> Block:
    """An object with its keys in one spelling: `queueId`, `queue_id` and `QueueID` are all `queueid`."""
    if not isinstance(value, dict):
        return {}
    return {key.replace("_", "").replace("-", "").casefold(): inner for key, inner in value.items()}


def read_facts(places: Sequence[Block]) -> Facts:
    """All facts the places tell, nearest place first: (record, response, root)."""
    code = read_int(_find(places[:2], "code"))
    reason = read_text(_find(places[:2], "response", "reason", "message")) or read_text(_find(places[:2], "reason"))
    processed = _find(places[:2], "processed", "processedat", "timestamp")
    payout = _find(places, "payout")
    return Facts(
        result_code=code,
        result_reason=reason,
        lead_id=read_id(_find(places[:2], "leadid")),
        rejection_id=read_id(_find(places[:2], "rejectionid")),
        campaign=_read_named(places, "campaign", "campaignid", "campaignname"),
        supplier=_read_named(places, "supplier", "supplierid", "suppliername", "sid"),
        buyers=_read_buyers(places),
        deliveries=_read_deliveries(places),
        revenue=read_money(_find(places, "revenue")),
        payout=read_money(payout),
        payout_pending=_read_pending(payout),
        currency=read_currency(_find(places, "currency")),
        quarantine_id=_read_quarantine_id(places),
        processed_at=read_moment(processed),
        processed_raw=read_text(processed),
    )


def _find(places: Sequence[Block], *names: str) -> JSON:
    """The first value told under one of the names; `null` counts as not told."""
    for place in places:
        for name in names:
            value = place.get(name)
            if value is not None and not (name == "response" and isinstance(value, dict)):
                return value
    return None


def _read_pending(payout: JSON) -> bool | None:
    if payout is None:
        return None
    return read_word(payout) == "pending"


def _read_quarantine_id(places: Sequence[Block]) -> str | None:
    return read_id(_find(places, "quarantineid")) or read_id(fold_keys(_find(places, "quarantine")).get("id"))


def _read_named(places: Sequence[Block], block: str, *flat: str) -> Named | None:
    value = _find(places, block)
    inner = fold_keys(value[0] if isinstance(value, list) and value else value)
    name = read_text(inner.get("name")) or read_text(_find([inner, *places], block + "name"))
    named = Named(
        id=read_id(_find([inner], "id", "reference", "sid"))
        or read_id(_find(places, *(f for f in flat if f.endswith("id")))),
        name=name if inner else name or read_text(value),
    )
    return None if named == Named() else named


def _read_buyers(places: Sequence[Block]) -> tuple[Buyer, ...] | None:
    rows = _find_rows(places, "buyers", "buyer")
    return None if rows is None else _number_twins(_read_buyer(row) for row in rows)


def _read_deliveries(places: Sequence[Block]) -> tuple[Delivery, ...] | None:
    rows = _find_rows(places, "deliveries", "delivery")
    return None if rows is None else _number_twins(_read_delivery(row) for row in rows)


def _read_buyer(row: Block) -> Buyer:
    buyer = Buyer(
        key="",
        id=read_id(_find([row], "id", "buyerid")),
        bid=read_id(_find([row], "bid", "reference", "buyerreference")),
        name=read_text(_find([row], "name", "company", "buyername")),
        status=read_text(_find([row], "status", "result")),
        revenue=read_money(_find([row], "revenue", "price", "amount")),
        currency=read_currency(row.get("currency")),
    )
    return replace(buyer, key=buyer.id or buyer.bid or buyer.name or "?")


def _read_delivery(row: Block) -> Delivery:
    inner = fold_keys(row.get("buyer"))
    delivery = Delivery(
        key="",
        id=read_id(_find([row], "id", "deliveryid")),
        name=read_text(_find([row], "name", "reference", "deliveryname")),
        buyer_id=read_id(_find([row], "buyerid")) or read_id(inner.get("id")) or read_id(_find([row], "bid")),
        status=read_text(_find([row], "status", "result")),
        reason=read_text(_find([row], "reason", "response", "message")),
        revenue=read_money(_find([row], "revenue", "price")),
    )
    return replace(delivery, key=delivery.id or f"{delivery.name or '?'}/{delivery.buyer_id or '?'}")


def _find_rows(places: Sequence[Block], plural: str, singular: str) -> list[Block] | None:
    value = _find(places, plural)
    if value is None:
        value = _find(places, singular)
    return None if value is None else list(_iterate_rows(value))[:MOST_ROWS]


def _iterate_rows(value: JSON) -> Iterator[Block]:
    if isinstance(value, list):
        for item in value:
            yield from _iterate_rows(item)
    elif isinstance(value, dict):
        if value and all(isinstance(inner, dict) for inner in value.values()):
            # A map by id. The row's own id wins over the key it stands under.
            for key, inner in value.items():
                yield {"id": key, **fold_keys(inner)}
        elif value:
            yield fold_keys(value)
    elif (name := read_text(value)) is not None:
        yield {"name": name}


def _number_twins(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows under unique keys: the same row twice is one row, two different ones under one key are numbered."""
    by_key: dict[str, Row] = {}
    for row in rows:
        key, number = row.key, 1
        while key in by_key and replace(by_key[key], key=row.key) != row:
            number += 1
            key = f"{row.key}#{number}"
        by_key[key] = replace(row, key=key)
    return tuple(by_key.values())
