"""The blocks of an ordinary answer: its campaign, supplier, buyers and deliveries, remembered by how they are written.

A market has few campaigns, buyers, prices and reasons, told again and again in the same letters. Used by
`worker.domain.ordinary`; `worker.domain.shape` says how each is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import TypeVar

from msgspec import DecodeError

from worker.domain.facts import Buyer, Delivery, Named
from worker.domain.rows import MOST_ROWS
from worker.domain.shape import (
    Amount,
    BuyerRow,
    DeliveryRow,
    Id,
    NamedRow,
    WrittenRecord,
    WrittenResponse,
    decode_buyers,
    decode_deliveries,
    decode_named,
)
from worker.domain.values import read_currency, read_currency_of, read_id, read_money, read_text

REMEMBERED = 4096
_LONGEST_REMEMBERED = 4096  # bytes of a lead's blocks
_BETWEEN = b"\xff"  # blocks: in none of them, since they are ASCII

Row = TypeVar("Row", BuyerRow, DeliveryRow)
Read = TypeVar("Read", Buyer, Delivery)
Decoded = TypeVar("Decoded")
Blocks = tuple[Named | None, Named | None, tuple[Buyer, ...] | None, tuple[Delivery, ...] | None]
_by_key = attrgetter("key")


class NeedsCareError(Exception):
    """Something that the careful reader decides."""


def read_blocks(record: WrittenRecord, response: WrittenResponse) -> Blocks:
    """What is told of campaign, supplier, buyers and deliveries, each in one of the two places; None: nowhere.

    Raises:
        NeedsCareError: a block stands in both places, or not in the documented shape.
    """
    blocks = _BETWEEN.join(
        (
            record.campaign, response.campaign, record.supplier, response.supplier,
            record.buyers, response.buyers, record.deliveries, response.deliveries,
        )
    )  # fmt: skip
    return _read_joined(blocks) if len(blocks) <= _LONGEST_REMEMBERED else _read_joined.__wrapped__(blocks)


@lru_cache(REMEMBERED)
def _read_joined(joined: bytes) -> Blocks:
    blocks = joined.split(_BETWEEN)
    campaign, supplier, buyers, deliveries = map(_pick, blocks[::2], blocks[1::2])
    return (
        _read_named(_decode(decode_named, campaign)),
        _read_named(_decode(decode_named, supplier)),
        _read_rows(_read_buyer, _decode(decode_buyers, buyers)),
        _read_rows(_read_delivery, _decode(decode_deliveries, deliveries)),
    )


def _pick(in_record: bytes, in_response: bytes) -> bytes:
    """A block that stands in one place; which of two counts is for the careful reader to say."""
    if in_record and in_response:
        raise NeedsCareError
    return in_response or in_record


def _decode(decode: Callable[[bytes], Decoded], block: bytes) -> Decoded | None:
    try:
        return decode(block) if block else None
    except (DecodeError, RecursionError):
        raise NeedsCareError from None


def _read_rows(read: Callable[[Row], Read], rows: Sequence[Row] | None) -> tuple[Read, ...] | None:
    if rows is None:
        return None
    told: tuple[Read, ...] = tuple(map(read, rows))
    if len(told) > 1 and (len(told) > MOST_ROWS or len({*map(_by_key, told)}) < len(told)):
        raise NeedsCareError
    return told


@lru_cache(REMEMBERED)
def _read_buyer(row: BuyerRow) -> Buyer:
    id_, bid, name = read_given_id(row.id), read_given_id(row.bid), read_name(row.name)
    key = id_ or bid or name
    if key is None:
        raise NeedsCareError
    revenue, currency = read_amount(row.revenue), read_currency(row.currency)
    if revenue is not None:
        currency = currency or read_currency_of(row.revenue)
    return Buyer(key, id_, bid, name, read_name(row.status), revenue, currency)


@lru_cache(REMEMBERED)
def _read_delivery(row: DeliveryRow) -> Delivery:
    id_ = read_given_id(row.id)
    if id_ is None:
        raise NeedsCareError
    name = read_name(row.name) or read_name(row.reference)
    buyer_id = read_given_id(row.buyer_id) or read_given_id(row.bid)
    status, reason = read_name(row.status), read_name(row.reason)
    return Delivery(id_, id_, name, buyer_id, status, reason, read_amount(row.revenue))


def _read_named(row: NamedRow | None) -> Named | None:
    if row is None:
        return None
    id_ = read_given_id(row.id) or read_given_id(row.reference) or read_given_id(row.sid)
    if id_ is None:
        raise NeedsCareError
    return Named(id_, read_name(row.name))


def read_given_id(value: Id) -> str | None:
    """See `worker.domain.values.read_id`."""
    return None if value is None else read_id(value)


@lru_cache(REMEMBERED)
def read_name(value: str | None) -> str | None:
    """See `worker.domain.values.read_text`."""
    return read_text(value)


@lru_cache(REMEMBERED)
def read_amount(value: Amount) -> Decimal | None:
    """See `worker.domain.values.read_money`."""
    return read_money(value)
