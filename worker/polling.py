"""One step of polling: claim due leads, ask, decide, write down.

No transaction is open while LeadByte is asked. A crash at any point leaves a lease that runs out. Neighbours:
`worker.store.claims` and `worker.store.settling` (Postgres), `worker.leadbyte.client` (HTTP), `worker.domain.decide`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, Engine

from worker.accounts import Account
from worker.domain.answers import Answer, Asked, Silence
from worker.domain.classify import Meaning, Reading, classify_reply
from worker.domain.decide import Policy, Step, decide_step
from worker.domain.lifecycle import State
from worker.domain.retry_after import read_retry_after
from worker.errors import SettingsError
from worker.failpoints import reach
from worker.leadbyte.client import LeadByteClient, Question
from worker.leadbyte.wire import decode_body, describe_shape, prepare_for_journal
from worker.retrying import retry_while_unavailable
from worker.store.accounts import PauseKind, pause_account, resume_account
from worker.store.claims import PROBE_INTERVAL, Budget, Claim, ClaimedLead, claim_due_leads
from worker.store.db import read_clock, transaction
from worker.store.drift import UnknownWord, note_unknown_words
from worker.store.leads import Move, move_leads, unwatch_leads
from worker.store.settling import JournalEntry, close_claim, count_polls, journal_replies, settle_polls

log = structlog.get_logger(__name__)
_jitter = random.Random()  # noqa: S311 - jitter needs no secrecy
_ENDED_BY_AN_ANSWER = (PauseKind.KEY, PauseKind.THROTTLED)
_ANSWERS = frozenset({Meaning.TOLD, Meaning.UNKNOWN_STATUS, Meaning.NOT_FOUND})  # LeadByte let us in, and spoke


@dataclass(frozen=True, slots=True)
class Poller:
    """All that a step of polling needs."""

    engine: Engine
    client: LeadByteClient
    accounts: Mapping[str, Account]
    policy: Policy
    batch_size: int
    keep_lead_data: bool = False


@dataclass(frozen=True, slots=True)
class Polled:
    """What one step did: requests made, and what they led to."""

    polled: int = 0
    journalled: int = 0
    waiting: int = 0
    failed: int = 0
    abandoned: int = 0
    lost: int = 0  # settled by nobody, because the lease had run out meanwhile

    def __add__(self, other: Polled) -> Polled:
        return Polled(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class _Told:
    """One lead's answer and what it means."""

    lead: ClaimedLead
    reading: Reading
    entry: JournalEntry | None
    retry_after: str | None = None
    unknown: UnknownWord | None = None


def poll_account(poller: Poller, account: Account, *, suspects: bool = False) -> Polled | None:
    """Claim one batch of the account's due leads, ask about them, and settle them; None if nothing could be claimed."""
    budget = Budget(account.requests_per_second, account.concurrency)
    with transaction(poller.engine) as connection:
        now, read_at = read_clock(connection), time.monotonic()
        claim = claim_due_leads(connection, account.name, budget, now, poller.batch_size, suspects=suspects)
    if claim is None:
        return None
    reach("poll.after_claim", (lead.queue_id for lead in claim.leads))
    try:
        told = _ask(poller, account, claim, now, read_at)
    except SettingsError as error:
        _hand_back(poller, account, claim, str(error))
        return None
    reach("poll.before_settle", (lead.queue_id for lead in claim.leads))
    # Safe to do again: settling is fenced, so a commit whose confirmation was lost has nothing left to settle.
    polled = retry_while_unavailable(lambda: _settle(poller, account, claim, told))
    reach("poll.after_settle", (lead.queue_id for lead in claim.leads))
    return polled


def _ask(poller: Poller, account: Account, claim: Claim, claimed_at: datetime, read_at: float) -> list[_Told]:
    # The database's clock, carried on: `read_at` is the monotonic moment at which it said `claimed_at`. A claim that
    # had to wait for its turn counts from there as well, so that no two claims send into the same moments.
    late = timedelta(seconds=time.monotonic() - read_at)
    leads = {lead.lead_id: lead for lead in claim.leads}
    questions = [
        Question(lead.lead_id, lead.queue_id, max(timedelta(0), lead.send_after - late)) for lead in claim.leads
    ]
    told = []
    for lead_id, asked in poller.client.poll(account, questions, claim.permits):
        received_at = claimed_at + timedelta(seconds=time.monotonic() - read_at)
        told.append(_read_answer(leads[lead_id], asked, received_at, keep_lead_data=poller.keep_lead_data))
    return told


def _read_answer(lead: ClaimedLead, asked: Asked, received_at: datetime, *, keep_lead_data: bool) -> _Told:
    if not isinstance(asked, Answer):
        meaning = Meaning.UNASKED if asked.why is Silence.UNSENT else Meaning.FAILED
        return _Told(lead, Reading(meaning, asked.why), None)
    decoded = decode_body(asked.body)
    reading = classify_reply(lead.queue_id, asked.http_status, decoded.document, decoded.text)
    body, cut = prepare_for_journal(decoded, keep_lead_data=keep_lead_data)
    entry = JournalEntry(lead.lead_id, received_at, asked.http_status, body, cut)
    asks_to_wait = asked.http_status in {429, 503}
    word = reading.unknown_word
    unknown = UnknownWord(word, describe_shape(decoded.document)) if word is not None else None
    return _Told(lead, reading, entry, asked.retry_after if asks_to_wait else None, unknown)


def _settle(poller: Poller, account: Account, claim: Claim, told: Sequence[_Told]) -> Polled:
    with transaction(poller.engine) as connection:
        now = read_clock(connection)
        steps = {
            t.lead.lead_id: decide_step(t.lead.watch, t.reading, now, poller.policy, _jitter.random()) for t in told
        }
        ours = settle_polls(connection, claim, list(steps.items()), now)
        entries = [t.entry for t in told if t.entry and t.lead.lead_id in ours and steps[t.lead.lead_id].journalled]
        journal_replies(connection, claim, entries)
        abandoned = _abandon(connection, [t for t in told if t.lead.lead_id in ours], steps, now)
        polled = _count(steps, ours, abandoned)
        asked = sum(t.reading.meaning is not Meaning.UNASKED for t in told if t.lead.lead_id in ours)
        if asked:
            count_polls(connection, account.name, asked, polled.failed, now)
        # What a worker that lost its leads was told may be long out of date.
        _pause_or_resume(connection, account, [t for t in told if t.lead.lead_id in ours], now)
        unknown = {t.unknown.word: t.unknown for t in told if t.unknown is not None}
        first_seen = note_unknown_words(connection, account.name, list(unknown.values()), now)
        close_claim(connection, claim)
    for word in first_seen:
        log.warning("unknown_status_seen", account=account.name, word=word)
    log.info("polls_settled", account=account.name, claim=claim.id, **asdict(polled))
    return polled


def _abandon(connection: Connection, told: Sequence[_Told], steps: Mapping[int, Step], now: datetime) -> set[int]:
    moves = [
        Move(t.lead.lead_id, t.lead.watch.state, State.ABANDONED, f"abandoned: {because}", state_reason=because)
        for t in told
        if (because := steps[t.lead.lead_id].abandoned_because) is not None
    ]
    abandoned = move_leads(connection, moves, now)
    unwatch_leads(connection, list(abandoned))
    return abandoned


def _count(steps: Mapping[int, Step], ours: Collection[int], abandoned: Collection[int]) -> Polled:
    mine = [steps[lead] for lead in ours]
    return Polled(
        polled=len(steps),
        journalled=sum(step.journalled for step in mine),
        waiting=sum(step.answered and not step.journalled for step in mine) - len(abandoned),
        failed=sum(step.failed for step in mine),
        abandoned=len(abandoned),
        lost=len(steps) - len(ours),
    )


def _pause_or_resume(connection: Connection, account: Account, told: Sequence[_Told], now: datetime) -> None:
    """What the answers say about the account rather than about a lead."""
    refused = next((t.reading.reason for t in told if t.reading.meaning is Meaning.REFUSED), None)
    waits = [
        read_retry_after(t.retry_after, now)
        for t in told
        if t.reading.meaning is Meaning.THROTTLED or t.retry_after is not None
    ]
    if refused is not None:
        reason = f"LeadByte refused the key: {refused}. Polling needs the key's permission 'API queue'"
        _pause(connection, account, PauseKind.KEY, reason, now + PROBE_INTERVAL)
    elif waits:
        reason = f"LeadByte asked us to wait {max(waits).total_seconds():.0f} s"
        _pause(connection, account, PauseKind.THROTTLED, reason, now + max(waits))
    elif any(t.reading.meaning in _ANSWERS for t in told) and resume_account(
        connection, account.name, _ENDED_BY_AN_ANSWER
    ):
        log.info("account_resumed", account=account.name)


def _pause(connection: Connection, account: Account, kind: PauseKind, reason: str, until: datetime) -> None:
    pause_account(connection, account.name, kind, reason, until)
    log.warning("account_paused", account=account.name, kind=kind, until=until.isoformat(timespec="seconds"))


def _hand_back(poller: Poller, account: Account, claim: Claim, reason: str) -> None:
    """Nothing could be asked (the key can't be read): the leads stay due, none of their counters moves."""
    with transaction(poller.engine) as connection:
        now = read_clock(connection)
        untouched = [
            (lead.lead_id, Step(now, not_found_since=lead.watch.not_found_since, told_digest=lead.watch.told_digest))
            for lead in claim.leads
        ]
        settle_polls(connection, claim, untouched, now)
        _pause(connection, account, PauseKind.KEY, reason, now + PROBE_INTERVAL)
        close_claim(connection, claim)
