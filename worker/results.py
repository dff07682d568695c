"""Persistence: journalled replies become campaign acceptance, buyers, deliveries, money, state and events.

Running it twice, or by two workers at once, or about a reply persisted before, changes nothing. Neighbours:
`worker.polling` fills the journal, `worker.store.worklist` says what waits, `worker.store.outcomes` holds the facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import zip_longest

import structlog
from sqlalchemy import Connection, Engine

from worker.domain.classify import Meaning, Reading, classify_reply
from worker.domain.facts import Facts, derive_facts, merge_facts
from worker.domain.lifecycle import FINAL, State, may_become
from worker.failpoints import reach
from worker.leadbyte.wire import decode_text
from worker.retrying import retry_while_unavailable
from worker.store.db import read_clock, transaction
from worker.store.leads import Move, move_leads, unwatch_leads
from worker.store.outcomes import KnownLead, Outcome, Seen, forget_rows, lock_leads, save_outcomes
from worker.store.worklist import (
    Attempt,
    JournalledReply,
    attempt_replies,
    read_journal,
    take_parked_replies,
    take_replies,
)

log = structlog.get_logger(__name__)

BATCH = 500
# LeadByte's clock may be a little ahead of ours; a `processed` stamp further in the future than this is no such stamp.
CLOCK_SLACK = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Persisted:
    """What one run did."""

    replies: int = 0
    final: int = 0

    def __add__(self, other: Persisted) -> Persisted:
        return Persisted(self.replies + other.replies, self.final + other.final)


@dataclass(slots=True)
class Folding:
    """One lead while its replies are being folded in: what is known so far, and the moves that led there."""

    lead_id: int
    queue_id: str
    state: State
    state_reason: str | None
    resolved_at: datetime | None
    facts: Facts
    last_reply_id: int = 0
    moves: list[Move] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)  # deliveries by key


def persist_replies(engine: Engine) -> Persisted:
    """Persist all waiting replies, batch by batch; the suspects among them one by one."""
    total = Persisted()
    for suspects, limit in ((False, BATCH), (True, 1)):
        while (done := _persist_batch(engine, limit, suspects=suspects)) is not None:
            total += done
    return total


def _persist_batch(engine: Engine, limit: int, *, suspects: bool) -> Persisted | None:
    with transaction(engine) as connection:
        attempt = attempt_replies(connection, limit, suspects=suspects)
    if attempt.parked:
        log.error("replies_parked", replies=attempt.parked)
    if not attempt.reply_ids:
        return Persisted() if attempt.parked else None
    # An attempt that ends with Postgres gone says nothing against the reply: it is made again, not counted again.
    return retry_while_unavailable(lambda: _persist_attempted(engine, attempt))


def _persist_attempted(engine: Engine, attempt: Attempt) -> Persisted:
    with transaction(engine) as connection:
        leads = _lock_foldings(connection, attempt.lead_ids)
        replies = take_replies(connection, list(leads), attempt.reply_ids)
        touched = _fold_all(connection, leads, replies)
        _save(connection, touched)
        reach("persist.before_commit", (lead.queue_id for lead in touched))
    final = sum(lead.state in FINAL for lead in touched)
    log.info("replies_persisted", replies=len(replies), leads=len(touched), final=final)
    return Persisted(len(replies), final)


def refold_leads(connection: Connection, lead_ids: Sequence[int]) -> None:
    """Derive the facts of these leads anew from their whole journal, parked replies included, with today's reader."""
    leads = list(_lock_foldings(connection, lead_ids).values())
    take_parked_replies(connection, [lead.lead_id for lead in leads])
    _replay_journals(connection, leads)
    _save(connection, leads)


def _save(connection: Connection, leads: list[Folding]) -> None:
    save_outcomes(connection, [_make_outcome(lead) for lead in leads if lead.last_reply_id])
    _move_in_rounds(connection, leads, read_clock(connection))
    unwatch_leads(connection, [lead.lead_id for lead in leads if lead.state in FINAL])


def _lock_foldings(connection: Connection, lead_ids: Sequence[int]) -> dict[int, Folding]:
    return {lead.lead_id: _start_folding(lead) for lead in lock_leads(connection, lead_ids)}


def _fold_all(connection: Connection, leads: dict[int, Folding], replies: Iterable[JournalledReply]) -> list[Folding]:
    touched, again = set(), set()
    for reply in replies:
        lead = leads[reply.lead_id]
        touched.add(lead.lead_id)
        if reply.reply_id > lead.last_reply_id:
            fold_reply(lead, reply)
        else:
            again.add(lead.lead_id)
    if again:
        _replay_journals(connection, [leads[lead_id] for lead_id in again])
    return [leads[lead_id] for lead_id in touched]


def _replay_journals(connection: Connection, leads: Sequence[Folding]) -> None:
    """A reply that newer ones have overtaken can't be folded in on top of them: the facts are derived anew from all."""
    lead_ids = [lead.lead_id for lead in leads]
    anew = {lead.lead_id: Folding(lead.lead_id, lead.queue_id, State.QUEUED, None, None, Facts()) for lead in leads}
    for reply in read_journal(connection, lead_ids):
        fold_reply(anew[reply.lead_id], reply)
    renewed = [lead for lead in leads if _take_over(lead, anew[lead.lead_id])]
    forget_rows(connection, [lead.lead_id for lead in renewed])


def _take_over(lead: Folding, anew: Folding) -> bool:
    """The facts as they are now read; of states only a verdict that was not understood before, every event stands.

    False: they are facts of a state that the lead can't go to, so the recorded ones stand with the recorded verdict.
    """
    lead.last_reply_id = max(lead.last_reply_id, anew.last_reply_id)
    if lead.state in FINAL and anew.state is not lead.state and not may_become(lead.state, anew.state):
        log.warning("replayed_state_refused", lead=lead.queue_id, kept=lead.state, read=anew.state)
        return False
    lead.facts, lead.seen = anew.facts, anew.seen
    if anew.state in FINAL and anew.state is not lead.state:
        _reopen_abandoned(lead)
        verdict = next(move for move in reversed(anew.moves) if move.to_state is anew.state)
        _add_move(lead, replace(verdict, from_state=lead.state, cause=f"replayed: {verdict.cause}", reply_id=None))
    return True


def fold_reply(lead: Folding, reply: JournalledReply) -> None:
    """Join what one reply tells to what is known: the whole meaning of a reply, as a pure step."""
    decoded = decode_text(reply.body)
    reading = classify_reply(lead.queue_id, reply.http_status, decoded.document, decoded.text)
    lead.last_reply_id = reply.reply_id
    if reading.meaning not in {Meaning.TOLD, Meaning.UNKNOWN_STATUS}:
        return
    facts = merge_facts(lead.facts, reading.facts)
    for delivery in reading.facts.deliveries or ():
        first_at, _ = lead.seen.get(delivery.key, (reply.received_at, None))
        lead.seen[delivery.key] = (first_at, reply.received_at)
    if reading.state is not None and reading.state is not lead.state:
        _move(lead, reading, reading.state, reply, facts)
    lead.facts = derive_facts(facts, lead.state)


def _move(lead: Folding, reading: Reading, state: State, reply: JournalledReply, facts: Facts) -> None:
    if lead.state is State.ABANDONED:
        if state not in FINAL:
            return  # we gave up on this lead, and "not yet" is no reason to begin again
        _reopen_abandoned(lead)
    if not may_become(lead.state, state):
        kept = f"regressed: {reading.reason}; kept {lead.state}"
        _add_move(
            lead, Move(lead.lead_id, lead.state, lead.state, kept, reply.reply_id, lead.state_reason, lead.resolved_at)
        )
        return
    resolved_at = (lead.resolved_at or _resolved_at(facts, reply)) if state in FINAL else None
    said = _say_reason(reading, facts)
    _add_move(lead, Move(lead.lead_id, lead.state, state, reading.reason, reply.reply_id, said, resolved_at))


def _reopen_abandoned(lead: Folding) -> None:
    """We gave up while the verdict was waiting to be persisted: it counts all the same."""
    if lead.state is State.ABANDONED:
        _add_move(lead, Move(lead.lead_id, State.ABANDONED, State.QUEUED, "a verdict arrived after all"))


def _add_move(lead: Folding, move: Move) -> None:
    lead.moves.append(move)
    lead.state, lead.state_reason, lead.resolved_at = move.to_state, move.state_reason, move.resolved_at


def _say_reason(reading: Reading, facts: Facts) -> str:
    detail = facts.result_reason
    says_more = detail is not None and detail != "OK" and detail not in reading.reason
    return f"{reading.reason} ({detail})" if says_more else reading.reason


def _resolved_at(facts: Facts, reply: JournalledReply) -> datetime:
    stamp = facts.processed_at
    return stamp if stamp is not None and stamp <= reply.received_at + CLOCK_SLACK else reply.received_at


def _start_folding(lead: KnownLead) -> Folding:
    return Folding(
        lead.lead_id, lead.queue_id, lead.state, lead.state_reason, lead.resolved_at, lead.facts, lead.last_reply_id
    )


def _make_outcome(lead: Folding) -> Outcome:
    return Outcome(lead.lead_id, lead.facts, lead.last_reply_id, lead.seen)


def _move_in_rounds(connection: Connection, leads: list[Folding], now: datetime) -> None:
    """Each lead's first move, then each one's second: nearly always there is one round."""
    for moves in zip_longest(*(lead.moves for lead in leads)):
        move_leads(connection, [move for move in moves if move is not None], now)
