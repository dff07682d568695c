"""One step of polling: claim due leads, ask, decide, write down.

No transaction is open while LeadByte is asked. A crash at any point leaves a lease that runs out. Neighbours:
`worker.store.claims` and `worker.store.settling` (Postgres), `worker.leadbyte.client` (HTTP), `worker.domain.decide`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from datetime import datetime

import structlog
from sqlalchemy import Connection, Engine

from worker.accounts import Account
from worker.asking import ANSWERS, Told, ask_leads, tell_lead_trouble
from worker.domain.classify import Meaning
from worker.domain.decide import Policy, Step, decide_step
from worker.domain.lifecycle import FINAL, State
from worker.domain.retry_after import read_retry_after
from worker.errors import SettingsError
from worker.failpoints import reach
from worker.leadbyte.client import LeadByteClient
from worker.leadbyte.wire import describe_shape, prepare_for_journal
from worker.retrying import retry_while_unavailable
from worker.store.accounts import PauseKind, pause_account, resume_account
from worker.store.claims import PROBE_INTERVAL, Budget, Claim, claim_due_leads
from worker.store.db import read_clock, transaction
from worker.store.drift import UnknownWord, note_unknown_words
from worker.store.leads import Move, move_leads, unwatch_leads
from worker.store.settling import JournalEntry, close_claim, count_polls, journal_replies, settle_polls

log = structlog.get_logger(__name__)
_jitter = random.Random()  # noqa: S311 - jitter needs no secrecy
_ENDED_BY_AN_ANSWER = (PauseKind.KEY, PauseKind.THROTTLED)


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
    final: int = 0
    waiting: int = 0
    failed: int = 0
    abandoned: int = 0
    journalled: int = 0
    lost: int = 0  # settled by nobody, because the lease had run out meanwhile

    def __add__(self, other: Polled) -> Polled:
        return Polled(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


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
        told = ask_leads(poller.client, account, claim, now, read_at)
    except SettingsError as error:
        _hand_back(poller, account, claim, str(error))
        return None
    reach("poll.before_settle", (lead.queue_id for lead in claim.leads))
    # Safe to do again: settling is fenced, so a commit whose confirmation was lost has nothing left to settle.
    polled = retry_while_unavailable(lambda: _settle(poller, account, claim, told))
    reach("poll.after_settle", (lead.queue_id for lead in claim.leads))
    return polled


def _settle(poller: Poller, account: Account, claim: Claim, told: Sequence[Told]) -> Polled:
    told = tell_lead_trouble(told)
    with transaction(poller.engine) as connection:
        now = read_clock(connection)
        steps = {
            t.lead.lead_id: decide_step(t.lead.watch, t.reading, now, poller.policy, _jitter.random()) for t in told
        }
        still_ours = settle_polls(connection, claim, list(steps.items()), now)
        # What a worker that lost its leads was told may be long out of date.
        ours = [t for t in told if t.lead.lead_id in still_ours]
        journal_replies(connection, claim, list(_make_entries(ours, steps, keep_lead_data=poller.keep_lead_data)))
        abandoned = _abandon(connection, ours, steps, now)
        polled = replace(_count(ours, steps, abandoned), lost=len(told) - len(ours))
        if polled.polled:
            count_polls(connection, account.name, polled.polled, polled.failed, now)
        _pause_or_resume(connection, account, claim, ours, now)
        first_seen = note_unknown_words(connection, account.name, _list_unknown_words(ours), now)
        close_claim(connection, claim)
    for word in first_seen:
        log.warning("unknown_status_seen", account=account.name, word=word)
    log.info("polls_settled", account=account.name, claim=claim.id, **asdict(polled))
    return polled


def _make_entries(told: Sequence[Told], steps: Mapping[int, Step], *, keep_lead_data: bool) -> Iterator[JournalEntry]:
    for t in told:
        if t.reply is not None and steps[t.lead.lead_id].journalled:
            body, cut = prepare_for_journal(t.reply.decoded, keep_lead_data=keep_lead_data)
            yield JournalEntry(t.lead.lead_id, t.reply.received_at, t.reply.http_status, body, cut)


def _list_unknown_words(told: Sequence[Told]) -> list[UnknownWord]:
    """Each once, with the shape of one of the replies."""
    found = {
        word: UnknownWord(word, describe_shape(t.reply.decoded.document))
        for t in told
        if t.reply is not None and (word := t.reading.unknown_word) is not None
    }
    return list(found.values())


def _abandon(connection: Connection, told: Sequence[Told], steps: Mapping[int, Step], now: datetime) -> set[int]:
    moves = [
        Move(t.lead.lead_id, t.lead.watch.state, State.ABANDONED, f"abandoned: {because}", state_reason=because)
        for t in told
        if (because := steps[t.lead.lead_id].abandoned_because) is not None
    ]
    abandoned = move_leads(connection, moves, now)
    unwatch_leads(connection, list(abandoned))
    return abandoned


def _count(told: Sequence[Told], steps: Mapping[int, Step], abandoned: Collection[int]) -> Polled:
    final = sum(t.reading.state in FINAL for t in told)
    settled = [steps[t.lead.lead_id] for t in told if t.lead.lead_id not in abandoned]
    return Polled(
        polled=sum(t.reading.meaning is not Meaning.UNASKED for t in told),
        final=final,
        waiting=sum(step.answered for step in settled) - final,
        failed=sum(steps[t.lead.lead_id].failed for t in told),
        abandoned=len(abandoned),
        journalled=sum(steps[t.lead.lead_id].journalled for t in told),
    )


def _pause_or_resume(
    connection: Connection, account: Account, claim: Claim, told: Sequence[Told], now: datetime
) -> None:
    """What the answers say about the account rather than about a lead."""
    refused = next((t.reading.reason for t in told if t.reading.meaning is Meaning.REFUSED), None)
    waits = [
        read_retry_after(t.retry_after, now)
        for t in told
        if t.reading.meaning is Meaning.THROTTLED or t.retry_after is not None
    ]
    if refused is not None:
        reason = f"LeadByte refuses this account: {refused}. Check its key, and the key's permission 'API queue'"
        _pause(connection, account, PauseKind.KEY, reason, now + PROBE_INTERVAL)
    elif waits:
        reason = f"LeadByte asked us to wait {max(waits).total_seconds():.0f} s"
        _pause(connection, account, PauseKind.THROTTLED, reason, now + max(waits))
    # Only the probe knows that the trouble is over: other claims may have been answered before it began.
    elif (
        claim.is_probe
        and any(t.reading.meaning in ANSWERS for t in told)
        and resume_account(connection, account.name, _ENDED_BY_AN_ANSWER)
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
