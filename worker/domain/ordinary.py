"""The ordinary answer, decoded straight into its documented shape: fifty times as fast as looking for it everywhere.

Whatever is not exactly of that shape, or holds anything that needs care, is None here and is left to
`worker.domain.classify`; a law holds every reading of this module to that one's. Nearly all of LeadByte's answers are
ordinary, and what a reply costs is what a lead costs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType

from msgspec import UNSET

from worker.domain.blocks import show_acceptance
from worker.domain.classify import Meaning, Reading, tell_acceptance
from worker.domain.facts import Facts
from worker.domain.lifecycle import State
from worker.domain.ordinary_blocks import (
    REMEMBERED,
    NeedsCareError,
    read_amount,
    read_blocks,
    read_given_id,
    read_name,
)
from worker.domain.records import LEAD_DATA
from worker.domain.shape import (
    Amount,
    Record,
    Response,
    WrittenRecord,
    WrittenResponse,
    decode_ordinary,
    decode_written,
)
from worker.domain.values import fold_key

_LEAD_DATA = frozenset(LEAD_DATA)
_LARGEST_CODE = 10**9
_LONGEST_LEARNED = 4096  # bytes: every answer is compared with it
_OK = 200
_ISO_MOMENT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)

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

    def is_told(self, queue_id: str, body: bytes) -> bool:
        """Whether it says of this lead what it said of the one it was learned from, letter by letter."""
        around = self._around
        return around is not None and body == queue_id.encode().join(around)

    def learn(self, queue_id: str, body: bytes) -> None:
        """Such an answer about this lead; one in which its ID may be something else as well is not learned."""
        if len(body) <= _LONGEST_LEARNED:
            around = body.split(queue_id.encode())
            self._around = (around[0], around[1]) if len(around) == 2 else None  # noqa: PLR2004 - before and after


_queued_text = _QueuedText()


def glance_at_reply(queue_id: str, http_status: int, body: bytes) -> Reading | None:
    """The reading of an ordinary answer about `queue_id`, the facts of a verdict left unread; None for every other.

    A verdict is journalled whatever else it says, and persistence reads its facts: polling need not know more of it.
    Such a body is plain ASCII without escapes or lead data, fit for the journal as it is.
    """
    if http_status == _OK and _queued_text.is_told(queue_id, body):
        return _QUEUED
    record = decode_ordinary(body) if http_status == _OK else None
    if record is None or body.count(b'"queueId"') > 1 or not _is_ordinary(queue_id, record):
        return None
    response = record.response
    # Told twice, the first may be anything; of all else the shape is checked each time.
    if body.count(b'"info"') > (response is not None and response.info is not UNSET):
        return None
    if response is not None:
        return _VERDICTS[record.status]
    _queued_text.learn(queue_id, body)
    return _QUEUED


def read_ordinary(queue_id: str, http_status: int, body: str) -> Reading | None:
    """The whole reading of an ordinary answer about `queue_id`, as the journal has it; None for every other answer."""
    record = decode_written(body) if http_status == _OK else None
    if record is None or body.count('"queueId"') > 1 or not _is_ordinary(queue_id, record):
        return None
    if record.response is None:
        return _QUEUED
    verdict = _VERDICTS[record.status]
    try:
        facts = tell_acceptance(_read_facts(record, record.response), verdict.state)
    except NeedsCareError:
        return None
    return Reading(Meaning.TOLD, verdict.reason, verdict.state, facts)


def _is_ordinary(queue_id: str, record: Record) -> bool:
    # An ID that is told twice was ruled out: of which of them it is the record is for the careful reader to say.
    return record.queue_id == queue_id and (_is_verdict(record) or _is_queued(record))


def _is_queued(record: Record) -> bool:
    return record == type(record)(queue_id=record.queue_id, status="Queued")


def _is_verdict(record: Record) -> bool:
    response = record.response
    return record.status in _VERDICTS and response is not None and _is_settled(response.payout) and _is_plain(response)


def _is_settled(payout: Amount) -> bool:
    """Whether the payout is told as a number, or not at all: "Pending" keeps an approval open."""
    return not isinstance(payout, str) or payout.replace(".", "", 1).isdecimal()


def _is_plain(response: Response) -> bool:
    """Whether there is nothing in the one free block that the journal would leave out."""
    return not isinstance(response.info, dict) or _LEAD_DATA.isdisjoint(map(fold_key, response.info))


def _read_facts(record: WrittenRecord, response: WrittenResponse) -> Facts:
    code, lead_id = response.code, read_given_id(response.lead_id)
    if code is not None and abs(code) >= _LARGEST_CODE:
        raise NeedsCareError
    reason, payout = read_name(response.response), read_amount(response.payout)
    if reason is None and response.info and code is not None and code < 0:
        raise NeedsCareError
    stamp = response.timestamp if record.processed is None else record.processed
    campaign, supplier, buyers, deliveries = read_blocks(record, response)
    return Facts(
        campaign_accepted=show_acceptance(code, lead_id),
        result_code=code,
        result_reason=reason,
        lead_id=lead_id,
        rejection_id=read_given_id(response.rejection_id),
        campaign=campaign,
        supplier=supplier,
        buyers=buyers,
        deliveries=deliveries,
        payout=payout,
        payout_pending=None if payout is None else False,
        processed_at=None if stamp is None else _read_stamp(stamp),
        processed_raw=stamp,
    )


@lru_cache(REMEMBERED)  # leads that were submitted together have their verdicts within the same seconds
def _read_stamp(stamp: str) -> datetime:
    if not _ISO_MOMENT.fullmatch(stamp):
        raise NeedsCareError
    try:
        return datetime.fromisoformat(stamp)
    except ValueError:
        raise NeedsCareError from None
