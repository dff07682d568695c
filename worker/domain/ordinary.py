"""The ordinary answer, decoded straight into its documented shape: fifty times as fast as looking for it everywhere.

Whatever is not exactly of that shape, or holds anything that needs care, is None here and is left to
`worker.domain.classify`; a law holds every reading of this module to that one's. Nearly all of LeadByte's answers are
ordinary, and what a reply costs is what a lead costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import TypeVar

from worker.domain.blocks import show_acceptance
from worker.domain.classify import Meaning, Reading, tell_acceptance
from worker.domain.facts import Buyer, Delivery, Facts, Named
from worker.domain.lifecycle import State
from worker.domain.records import LEAD_DATA
from worker.domain.rows import MOST_ROWS
from worker.domain.shape import Amount, BuyerRow, DeliveryRow, Id, NamedRow, Record, Response, decode_ordinary
from worker.domain.values import fold_key, read_currency, read_currency_of, read_id, read_money, read_text

# A market has few campaigns, buyers, prices and reasons, told again and again: what each means is remembered.
_REMEMBERED = 4096
_LEAD_DATA = frozenset(LEAD_DATA)
_LARGEST_CODE = 10**9
_LONGEST_LEARNED = 4096  # bytes: every answer is compared with it
_OK = 200
_ISO_MOMENT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


class _NeedsCareError(Exception):
    """Something that the careful reader decides."""


Row = TypeVar("Row", BuyerRow, DeliveryRow)
Block = TypeVar("Block")
Read = TypeVar("Read", Buyer, Delivery)
_by_key = attrgetter("key")

_QUEUED = Reading(Meaning.TOLD, "LeadByte says: Queued", State.QUEUED)
_VERDICTS: Mapping[str, Reading] = MappingProxyType(
    {
        word: Reading(Meaning.TOLD, f"LeadByte says: {word}", state)
        for word, state in (("Approved", State.APPROVED), ("Rejected", State.REJECTED), ("Returned", State.RETURNED))
    }
)


class _QueuedText:
    """The answer "Queued" as it was read last, without its queue ID: another lead's is the same text around its own."""

    def __init__(self) -> None:
        self._around: tuple[bytes, bytes] | None = None

    def is_told(self, queue_id: str, body: bytes | str) -> bool:
        """Whether it says of this lead what it said of the one it was learned from, letter by letter."""
        around = self._around
        return around is not None and body == queue_id.encode().join(around)

    def learn(self, queue_id: str, body: bytes | str) -> None:
        """Such an answer about this lead; one in which its ID may be something else as well is not learned."""
        if isinstance(body, bytes) and len(body) <= _LONGEST_LEARNED:
            around = body.split(queue_id.encode())
            self._around = (around[0], around[1]) if len(around) == 2 else None  # noqa: PLR2004 - before and after


_queued_text = _QueuedText()


def glance_at_reply(queue_id: str, http_status: int, body: bytes | str) -> Reading | None:
    """The reading of an ordinary answer about `queue_id`, the facts of a verdict left unread; None for every other.

    A verdict is journalled whatever else it says, and persistence reads its facts: polling need not know more of it.
    Such a body is plain ASCII without escapes or lead data, fit for the journal as it is.
    """
    if http_status == _OK and _queued_text.is_told(queue_id, body):
        return _QUEUED
    record = _open_record(queue_id, http_status, body)
    if record is None:
        return None
    if record.response is not None:
        return _VERDICTS[record.status]
    _queued_text.learn(queue_id, body)
    return _QUEUED


def read_ordinary(queue_id: str, http_status: int, body: bytes | str) -> Reading | None:
    """The whole reading of an ordinary answer about `queue_id`; None for every other answer."""
    record = _open_record(queue_id, http_status, body)
    if record is None:
        return None
    if record.response is None:
        return _QUEUED
    verdict = _VERDICTS[record.status]
    try:
        facts = tell_acceptance(_read_facts(record, record.response), verdict.state)
    except _NeedsCareError:
        return None
    return Reading(Meaning.TOLD, verdict.reason, verdict.state, facts)


def _open_record(queue_id: str, http_status: int, body: bytes | str) -> Record | None:
    record = decode_ordinary(body) if http_status == _OK else None
    if record is None or record.queue_id != queue_id:
        return None
    if (body.count(b'"queueId"') if isinstance(body, bytes) else body.count('"queueId"')) > 1:
        return None  # told twice: of which of them it is the record is for the careful reader to say
    return record if _is_verdict(record) or _is_queued(record) else None


def _is_queued(record: Record) -> bool:
    return record == Record(queue_id=record.queue_id, status="Queued")


def _is_verdict(record: Record) -> bool:
    response = record.response
    return record.status in _VERDICTS and response is not None and _is_settled(response.payout) and _is_plain(response)


def _is_settled(payout: Amount) -> bool:
    """Whether the payout is told as a number, or not at all: "Pending" keeps an approval open."""
    return not isinstance(payout, str) or payout.replace(".", "", 1).isdecimal()


def _is_plain(response: Response) -> bool:
    """Whether there is nothing in the one free block that the journal would leave out."""
    return not isinstance(response.info, dict) or _LEAD_DATA.isdisjoint(map(fold_key, response.info))


def _read_facts(record: Record, response: Response) -> Facts:
    code, lead_id = response.code, _read_id(response.lead_id)
    if code is not None and abs(code) >= _LARGEST_CODE:
        raise _NeedsCareError
    reason, payout = _read_name(response.response), _read_amount(response.payout)
    if reason is None and response.info and code is not None and code < 0:
        raise _NeedsCareError
    stamp = response.timestamp if record.processed is None else record.processed
    return Facts(
        campaign_accepted=show_acceptance(code, lead_id),
        result_code=code,
        result_reason=reason,
        lead_id=lead_id,
        rejection_id=_read_id(response.rejection_id),
        campaign=_read_named(_pick(record.campaign, response.campaign)),
        supplier=_read_named(_pick(record.supplier, response.supplier)),
        buyers=_read_rows(_read_buyer, _pick(record.buyers, response.buyers)),
        deliveries=_read_rows(_read_delivery, _pick(record.deliveries, response.deliveries)),
        payout=payout,
        payout_pending=None if payout is None else False,
        processed_at=None if stamp is None else _read_stamp(stamp),
        processed_raw=stamp,
    )


def _pick(in_record: Block | None, in_response: Block | None) -> Block | None:
    """A block that stands in one place; which of two counts is for the careful reader to say."""
    if in_record is not None and in_response is not None:
        raise _NeedsCareError
    return in_response if in_record is None else in_record


def _read_rows(read: Callable[[Row], Read], rows: Sequence[Row] | None) -> tuple[Read, ...] | None:
    if rows is None:
        return None
    told: tuple[Read, ...] = tuple(map(read, rows))
    if len(told) > 1 and (len(told) > MOST_ROWS or len({*map(_by_key, told)}) < len(told)):
        raise _NeedsCareError
    return told


@lru_cache(_REMEMBERED)
def _read_buyer(row: BuyerRow) -> Buyer:
    id_, bid, name = _read_id(row.id), _read_id(row.bid), _read_name(row.name)
    key = id_ or bid or name
    if key is None:
        raise _NeedsCareError
    revenue, currency = _read_amount(row.revenue), read_currency(row.currency)
    if revenue is not None:
        currency = currency or read_currency_of(row.revenue)
    return Buyer(key, id_, bid, name, _read_name(row.status), revenue, currency)


@lru_cache(_REMEMBERED)
def _read_delivery(row: DeliveryRow) -> Delivery:
    id_ = _read_id(row.id)
    if id_ is None:
        raise _NeedsCareError
    name = _read_name(row.name) or _read_name(row.reference)
    buyer_id = _read_id(row.buyer_id) or _read_id(row.bid)
    status, reason = _read_name(row.status), _read_name(row.reason)
    return Delivery(id_, id_, name, buyer_id, status, reason, _read_amount(row.revenue))


def _read_named(row: NamedRow | None) -> Named | None:
    return None if row is None else _read_named_row(row)


@lru_cache(_REMEMBERED)
def _read_named_row(row: NamedRow) -> Named:
    id_ = _read_id(row.id) or _read_id(row.reference) or _read_id(row.sid)
    if id_ is None:
        raise _NeedsCareError
    return Named(id_, _read_name(row.name))


def _read_id(value: Id) -> str | None:
    return None if value is None else read_id(value)


@lru_cache(_REMEMBERED)
def _read_name(value: str | None) -> str | None:
    return read_text(value)


@lru_cache(_REMEMBERED)
def _read_amount(value: Amount) -> Decimal | None:
    return read_money(value)


def _read_stamp(stamp: str) -> datetime:
    if not _ISO_MOMENT.fullmatch(stamp):
        raise _NeedsCareError
    try:
        return datetime.fromisoformat(stamp)
    except ValueError:
        raise _NeedsCareError from None
