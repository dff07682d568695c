"""How a block of buyers or deliveries becomes rows, whichever shape it has: an object, a list, a map, a wrapper.

Field names and places are undocumented except `response.buyers`, `record.buyers` and root `buyers` with `status` and
`revenue` (seen in one production client). Neighbours: `worker.domain.blocks` reads a record's other facts,
`worker.domain.recognition` finds a row again in a later reply.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice

from msgspec.structs import replace

from worker.domain.complaints import join_words
from worker.domain.facts import SOLD, Buyer, Delivery, Row
from worker.domain.values import (
    JSON,
    Block,
    fold_key,
    fold_keys,
    read_currency,
    read_currency_of,
    read_flag,
    read_id,
    read_money,
    read_text,
    read_word,
    read_wrapped_text,
)

MOST_ROWS = 200  # buyers or deliveries read of one lead; a longer list is no answer about one lead
LONGEST_KEY = 500  # characters; Postgres' index takes no key of more than 2,700 bytes
_WRAPPERS = ("items", "item", "list", "rows", "row", "data", "results", "records", "entries")
_ROW_FIELDS = frozenset({
    "id", "bid", "name", "company", "reference", "status", "result", "sold", "issold", "revenue", "price", "buyerid",
    "deliveryid", "buyername",
})  # fmt: skip
_STATUS_WORDS = frozenset({"sold", "unsold", "returned", "assigned", "skipped"})  # seen in LeadByte's pages

_NAMELESS = frozenset({"?", "?/?"})

_BUYERS, _DELIVERIES = ("buyers", "buyer"), ("deliveries", "delivery")


def read_buyers(places: Sequence[Block]) -> tuple[Buyer, ...] | None:
    """The buyers told, nearest place first; None where no place has the block."""
    rows = _find_rows(places, _BUYERS)
    return None if rows is None else _number_twins([_read_buyer(row) for row in rows])


def read_deliveries(places: Sequence[Block]) -> tuple[Delivery, ...] | None:
    """The deliveries told, nearest place first; None where no place has the block."""
    rows = _find_rows(places, _DELIVERIES)
    return None if rows is None else _number_twins([_read_delivery(row) for row in rows])


def _read_buyer(row: Block) -> Buyer:
    nested = row.get("buyer")
    if nested is None:
        own = row
        id_ = _first_id(row, "buyerid", "id")
    else:
        # In a row about a buyer, the row's own `id` is that of the sale.
        own = _name_or_block(nested)
        id_ = _first_id(own, "id", "buyerid") or _first_id(row, "buyerid")
    bid = _first_id(own, "bid", "reference", "buyerreference") or _first_id(row, "bid")
    name = _first_text(own, "name", "company", "buyername")
    if name is None and nested is not None:
        name = _first_text(row, "buyername", "name", "company")
    revenue, currency = _read_price(row if nested is None else {**own, **row})
    return Buyer(
        key=id_ or bid or name or "?",
        id=id_,
        bid=bid,
        name=name,
        status=_read_status(row, "buyerstatus") or (_read_status(own) if nested is not None else None),
        revenue=revenue,
        currency=currency,
    )


def _read_price(row: Block) -> tuple[Decimal | None, str | None]:
    currency = read_currency(row["currency"]) if "currency" in row else None
    for name in ("revenue", "price", "amount"):
        if name in row and (price := read_money(row[name])) is not None:
            return price, currency or read_currency_of(row[name])
    return None, currency


def _read_delivery(row: Block) -> Delivery:
    nested = row.get("delivery")
    own = row if nested is None else _name_or_block(nested)
    id_ = _first_id(row, "deliveryid") or _first_id(own, "deliveryid", "id")
    name = _first_text(own, "name", "reference", "deliveryname") or _first_text(row, "deliveryname")
    buyer_id = _first_id(row, "buyerid")
    if buyer_id is None:
        buyer_id = _first_id(_name_or_block(row.get("buyer")), "id", "buyerid") or _first_id(row, "bid")
    return Delivery(
        key=id_ or f"{name or '?'}/{buyer_id or '?'}",
        id=id_,
        name=name,
        buyer_id=buyer_id,
        status=_read_status(row, "deliverystatus") or (_read_status(own) if nested is not None else None),
        reason=_read_reason(row),
        revenue=_read_price(row)[0],
    )


def _read_reason(row: Block) -> str | None:
    for name in ("reason", "deliveryreason", "response", "message", "info"):
        value = row.get(name)
        told = read_text(join_words(value) if isinstance(value, list | dict) else value) if value is not None else None
        if told is not None:
            return told
    return None


def _read_status(row: Block, *names: str) -> str | None:
    """The word told, as it is ("Accepted" is not known to be a sale, whatever money stands beside it), or a flag's."""
    if "returned" in row and read_flag(row["returned"]):
        return "Returned"  # later than any sale
    told = (read_wrapped_text(row[name]) for name in ("status", *names, "result") if name in row)
    word = next((text for text in told if text is not None), None)
    if word is not None:
        return word
    if "sold" not in row and "issold" not in row:
        return None
    told_sold = row.get("sold", row.get("issold"))
    sold = read_flag(told_sold)
    if sold is None:
        return read_text(told_sold) if read_word(told_sold) in _STATUS_WORDS else None
    return SOLD if sold else "Unsold"


def _first_text(row: Block, *names: str) -> str | None:
    for name in names:
        if name in row and (text := read_text(row[name])) is not None:
            return text
    return None


def _first_id(row: Block, *names: str) -> str | None:
    for name in names:
        if name in row and (id_ := read_id(row[name])) is not None:
            return id_
    return None


def _name_or_block(value: JSON) -> Block:
    """A nested object; or a bare number, which is an ID, or a bare name."""
    if isinstance(value, list) and value:
        value = value[0]
    text = read_text(value)
    return fold_keys(value) if text is None else {"id" if text.isdecimal() else "name": text}


def _find_rows(places: Sequence[Block], names: tuple[str, str]) -> list[Block] | None:
    """The rows of the nearest block that has any; none where every block is empty; None where there is no block."""
    is_told = False
    for name in names:
        for place in places:
            block = place.get(name)
            if block is not None and (isinstance(block, list | dict) or read_text(block) is not None):
                is_told = True
                rows = list(islice(_iterate_rows(block, names), MOST_ROWS))
                if rows:
                    return rows
    return [] if is_told else None


def _iterate_rows(value: JSON, names: tuple[str, str]) -> Iterator[Block]:
    if isinstance(value, list):
        for item in value:
            yield from _iterate_rows(item, names)
    elif isinstance(value, dict):
        row = fold_keys(value)
        if not _ROW_FIELDS.isdisjoint(row):
            yield from _open_map(value) if _is_map(value) else (row,)
        elif wrapped := [name for name in (*names, *_WRAPPERS) if _is_block(row.get(name))]:
            for name in wrapped:
                yield from _iterate_rows(row[name], names)
        elif row:
            yield from _open_map(value) if _is_map(value) else (row,)
    elif (bare := read_text(value)) is not None:
        yield {"id" if bare.isdecimal() else "name": bare}


def _is_block(value: JSON) -> bool:
    return isinstance(value, list | dict)


def _is_map(value: dict[str, JSON]) -> bool:
    """A map by ID: of rows, or of bare status words; by name only of words that can mean nothing else."""
    first = next(iter(value.values()), None)
    if isinstance(first, dict):
        return all(isinstance(inner, dict) for inner in value.values())
    return _is_plain(first) and all(
        _is_plain(inner) and (key.isdecimal() or _names_a_row(key, inner)) for key, inner in value.items()
    )


def _is_plain(value: JSON) -> bool:
    return isinstance(value, str | int | float)


def _names_a_row(key: str, inner: JSON) -> bool:
    return read_word(inner) in _STATUS_WORDS and fold_key(key) not in _ROW_FIELDS


def _open_map(value: dict[str, JSON]) -> Iterator[Block]:
    is_list = "0" in value  # PHP writes a list with gaps as an object: its keys are positions
    for key, inner in value.items():
        row = fold_keys(inner) if isinstance(inner, dict) else {_name_value(inner): inner}
        # The row's own id wins over the key it stands under.
        if is_list or _first_id(row, "id", "buyerid", "deliveryid") is not None:
            yield row
        else:
            yield {**row, "id" if any(map(str.isdecimal, key)) and " " not in key else "name": key}


def _name_value(inner: JSON) -> str:
    """What a bare value in a map by ID is: a sum of money, or a status word."""
    return "status" if isinstance(inner, bool) or read_money(inner) is None else "revenue"


def _number_twins(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows under unique keys: the same row twice is one row, two different ones under one key are numbered.

    Of sums without a name no two are known to be the same: two buyers may well pay one price.
    """
    by_key: dict[str, Row] = {}
    for row in rows:
        key, number = row.key[:LONGEST_KEY], 1
        while key in by_key and (_is_anybodys_sum(row) or replace(by_key[key], key=row.key) != row):
            number += 1
            key = f"{row.key[:LONGEST_KEY]}#{number}"
        by_key[key] = row if key == row.key else replace(row, key=key)
    return tuple(by_key.values())


def _is_anybodys_sum(row: Row) -> bool:
    return row.key in _NAMELESS and row.revenue is not None
