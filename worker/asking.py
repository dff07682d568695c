"""Asking LeadByte about the leads of one claim, and what each answer means. No transaction is open meanwhile.

Neighbours: `worker.polling` claims before and settles after; `worker.leadbyte.client` sends.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus

from worker.accounts import Account
from worker.domain.answers import Answer, Asked, Silence
from worker.domain.classify import Meaning, Reading, classify_reply
from worker.leadbyte.client import LeadByteClient, Question
from worker.leadbyte.wire import Decoded, decode_body
from worker.store.claims import Claim, ClaimedLead

ACCOUNT_TROUBLE = frozenset({Meaning.THROTTLED, Meaning.REFUSED})
ANSWERS = frozenset({Meaning.TOLD, Meaning.UNKNOWN_STATUS, Meaning.NOT_FOUND})  # LeadByte let us in, and spoke


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer's content, and when it came by the database's clock."""

    received_at: datetime
    http_status: int
    decoded: Decoded


@dataclass(frozen=True, slots=True)
class Told:
    """One lead's answer and what it means; no reply: there was none, or none was asked for."""

    lead: ClaimedLead
    reading: Reading
    reply: Reply | None = None
    retry_after: str | None = None


def ask_leads(
    client: LeadByteClient, account: Account, claim: Claim, claimed_at: datetime, read_at: float
) -> list[Told]:
    """Ask about the claim's leads, until all have answered or one answer says that no more may be asked.

    `claimed_at` is the database's clock, read at the monotonic moment `read_at`. SettingsError: the key can't be read.
    """
    # The database's clock, carried on: `read_at` is the monotonic moment at which it said `claimed_at`. A claim that
    # had to wait for its turn counts from there as well, so that no two claims send into the same moments.
    leads = {lead.lead_id: lead for lead in claim.leads}
    questions = [
        Question(lead.lead_id, lead.queue_id, read_at + lead.send_after.total_seconds()) for lead in claim.leads
    ]
    told = []
    for lead_id, asked in client.poll(account, questions, claim.permits, _ends_the_batch):
        received_at = claimed_at + timedelta(seconds=time.monotonic() - read_at)
        told.append(_read_answer(leads[lead_id], asked, received_at))
    return told


def _ends_the_batch(asked: Asked) -> bool:
    """Whether the account is asked to wait, or refused: every further request would be one too many."""
    if not isinstance(asked, Answer):
        return False
    if _asks_to_wait(asked):
        return True
    if asked.http_status == HTTPStatus.OK and b'"records"' in asked.body:
        return False  # the ordinary answer need not be read twice
    decoded = decode_body(asked.body)
    return classify_reply("", asked.http_status, decoded.document, decoded.text).meaning in ACCOUNT_TROUBLE


def _asks_to_wait(answer: Answer) -> bool:
    return answer.http_status == HTTPStatus.TOO_MANY_REQUESTS or (
        answer.http_status == HTTPStatus.SERVICE_UNAVAILABLE and answer.retry_after is not None
    )


def _read_answer(lead: ClaimedLead, asked: Asked, received_at: datetime) -> Told:
    if not isinstance(asked, Answer):
        meaning = Meaning.UNASKED if asked.why is Silence.UNSENT else Meaning.FAILED
        return Told(lead, Reading(meaning, asked.why))
    decoded = decode_body(asked.body)
    reading = classify_reply(lead.queue_id, asked.http_status, decoded.document, decoded.text)
    reply = Reply(received_at, asked.http_status, decoded)
    return Told(lead, reading, reply, asked.retry_after if _asks_to_wait(asked) else None)


def tell_lead_trouble(told: Sequence[Told]) -> Sequence[Told]:
    """Where the key opened the door for one lead of the batch, a refusal of another is that lead's own trouble."""
    if not any(t.reading.meaning in ANSWERS for t in told):
        return told
    return [
        replace(t, reading=Reading(Meaning.FAILED, t.reading.reason)) if t.reading.meaning is Meaning.REFUSED else t
        for t in told
    ]
