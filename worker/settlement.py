"""Writing down what LeadByte answered: journal, snooze or fail the leads, mind the account; one transaction, fenced.

Neighbours: `worker.polling` asks, `worker.domain.decide` says what happens to each lead, `worker.store.settling`.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import datetime

import structlog
from msgspec.structs import replace
from sqlalchemy import Connection, Engine

from worker.asking import Batch, Told
from worker.domain.classify import Meaning
from worker.domain.decide import Policy, Step, decide_step, leave_alone
from worker.domain.lifecycle import FINAL, State
from worker.leadbyte.redacting import describe_shape
from worker.leadbyte.wire import prepare_for_journal
from worker.manners import mind_account, pause
from worker.schedule_book import ChooseSchedule
from worker.store.accounts import PauseKind
from worker.store.claims import PROBE_INTERVAL
from worker.store.concluding import unwatch_leads
from worker.store.db import read_clock, transaction
from worker.store.drift import UnknownWord, note_unknown_words
from worker.store.leads import Move, move_leads
from worker.store.rechecks import end_rechecks
from worker.store.settling import JournalEntry, Release, count_polls, journal_replies, release_permits, settle_polls

log = structlog.get_logger(__name__)
_jitter = random.Random()  # noqa: S311 - jitter needs no secrecy


@dataclass(frozen=True, slots=True)
class Polled:
    """What came of some requests: how many were made, and what they led to."""

    polled: int = 0
    final: int = 0
    waiting: int = 0
    failed: int = 0
    abandoned: int = 0
    journalled: int = 0
    lost: int = 0  # settled by nobody, because the lease had run out meanwhile

    def __add__(self, other: Polled) -> Polled:
        return Polled(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Settled:
    """What was settled; whether the account is paused now, or the lane counts on permits that it has not: stop then."""

    polled: Polled
    is_paused: bool = False
    has_lost_permits: bool = False


def settle(
    engine: Engine,
    policy: Policy,
    batch: Batch,
    told: Sequence[Told],
    release: Release,
    choose_schedule: ChooseSchedule | None = None,
    *,
    keep_lead_data: bool = False,
) -> Settled:
    """Settle these answers of the batch. Safe to do again: a commit whose confirmation was lost has nothing left to do.

    Args:
        engine: of this process.
        policy: how patient to be with a lead, and the schedule of those that have none of their own.
        batch: the claim they belong to.
        told: the answers.
        release: what becomes of its permits.
        choose_schedule: the schedule of one lead, by which it is asked about again while it is open.
        keep_lead_data: whether the journal keeps it.

    Raises:
        DatabaseUnavailable: nothing was settled, or all of it was.
    """
    claim, name = batch.claim, batch.account.name
    policies = [_choose_policy(policy, choose_schedule, name, t) for t in told]
    with transaction(engine) as connection:
        now = read_clock(connection)
        steps = {
            t.lead.lead_id: decide_step(t.lead.watch, t.reading, now, of_lead, _jitter.random())
            for t, of_lead in zip(told, policies, strict=True)
        }
        still_ours = settle_polls(connection, claim, list(steps.items()), now)
        # What a worker that lost its leads was told may be long out of date.
        ours = told if len(still_ours) == len(told) else [t for t in told if t.lead.lead_id in still_ours]
        journal_replies(connection, claim, list(_make_entries(ours, steps, keep_lead_data=keep_lead_data)))
        abandoned = _abandon(connection, ours, steps, now)
        end_rechecks(connection, [(id_, steps[id_].told_digest) for id_ in still_ours if steps[id_].ends_recheck])
        polled = _count(ours, steps, abandoned, lost=len(told) - len(ours))
        if polled.polled:
            count_polls(connection, name, polled.polled, polled.failed, now)
        is_paused = mind_account(connection, name, claim, ours, now)
        first_seen = note_unknown_words(connection, name, _list_unknown_words(ours), now)
        has_lost_permits = not release_permits(connection, claim, release, now)
    for word in first_seen:
        log.warning("unknown_status_seen", account=name, word=word)
    log.info("polls_settled", account=name, claim=claim.id, **asdict(polled))
    return Settled(polled, is_paused, has_lost_permits)


def hand_back(engine: Engine, batch: Batch, reason: str) -> None:
    """Nothing could be asked (the key can't be read): the leads stay due, none of their counters moves."""
    with transaction(engine) as connection:
        now = read_clock(connection)
        unasked = [(lead.lead_id, leave_alone(lead.watch)) for lead in batch.claim.leads]
        settle_polls(connection, batch.claim, unasked, now)
        pause(connection, batch.account.name, PauseKind.KEY, reason, now + PROBE_INTERVAL)
        release_permits(connection, batch.claim, Release(), now)


def _choose_policy(policy: Policy, choose_schedule: ChooseSchedule | None, account: str, told: Told) -> Policy:
    # What was learned counts from the submission: it knows nothing of a lead that somebody has just acted on.
    if choose_schedule is None or told.reading.state in FINAL or told.lead.watch.is_hurried:
        return policy
    campaign = told.reading.facts.campaign
    schedule = choose_schedule(account, None if campaign is None else campaign.id, told.lead.lead_id)
    return policy if schedule is policy.schedule else replace(policy, schedule=schedule)


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


def _count(told: Sequence[Told], steps: Mapping[int, Step], abandoned: Collection[int], *, lost: int) -> Polled:
    final = sum(t.reading.state in FINAL for t in told)
    taken = [steps[t.lead.lead_id] for t in told]
    return Polled(
        polled=sum(t.reading.meaning is not Meaning.UNASKED for t in told),
        final=final,
        waiting=sum(step.answered for step in taken) - sum(steps[id_].answered for id_ in abandoned) - final,
        failed=sum(step.failed for step in taken),
        abandoned=len(abandoned),
        journalled=sum(step.journalled for step in taken),
        lost=lost,
    )
