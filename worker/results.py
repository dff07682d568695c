"""Persistence: journalled replies become campaign acceptance, buyers, deliveries, money, state and events.

Running it twice, or by two workers at once, changes nothing. Neighbours: `worker.polling` fills the journal,
`worker.store.outcomes` holds the work list and the facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest

import structlog
from sqlalchemy import Connection, Engine

from worker.domain.classify import Meaning, Reading, classify_reply
from worker.domain.facts import Facts, derive_facts, merge_facts
from worker.domain.lifecycle import FINAL, State, may_become
from worker.leadbyte.wire import decode_text
from worker.store.db import read_clock, transaction
from worker.store.leads import Move, move_leads, unwatch_leads
from worker.store.outcomes import (
    JournalledReply,
    KnownLead,
    Outcome,
    attempt_replies,
    lock_leads,
    save_outcomes,
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
    moves: list[Move] = field(default_factory=list)
    last_reply: JournalledReply | None = None


def persist_replies(engine: Engine) -> Persisted:
    """Persist all waiting replies, batch by batch; the suspects among them one by one."""
    total = Persisted()
    for suspects, limit in ((False, BATCH), (True, 1)):
        while (done := _persist_batch(engine, limit, suspects=suspects)) is not None:
            total += done
    return total


def _persist_batch(engine: Engine, limit: int, *, suspects: bool) -> Persisted | None:
    with transaction(engine) as connection:
        reply_ids = attempt_replies(connection, limit, suspects=suspects)
    if not reply_ids:
        return None
    with transaction(engine) as connection:
        leads = {lead.lead_id: _start_folding(lead) for lead in lock_leads(connection, reply_ids)}
        replies = take_replies(connection, list(leads))
        for reply in replies:
            fold_reply(leads[reply.lead_id], reply)
        touched = [lead for lead in leads.values() if lead.last_reply is not None]
        save_outcomes(connection, [_make_outcome(lead) for lead in touched])
        _move_in_rounds(connection, touched, read_clock(connection))
        final = [lead.lead_id for lead in touched if lead.state in FINAL]
        unwatch_leads(connection, final)
    log.info("replies_persisted", replies=len(replies), leads=len(touched), final=len(final))
    return Persisted(len(replies), len(final))


def fold_reply(lead: Folding, reply: JournalledReply) -> None:
    """Join what one reply tells to what is known: the whole meaning of a reply, as a pure step."""
    decoded = decode_text(reply.body)
    reading = classify_reply(lead.queue_id, reply.http_status, decoded.document, decoded.text)
    lead.last_reply = reply
    if reading.meaning not in {Meaning.TOLD, Meaning.UNKNOWN_STATUS}:
        return
    facts = merge_facts(lead.facts, reading.facts)
    if reading.state is not None and reading.state is not lead.state:
        _move(lead, reading, reading.state, reply, facts)
    lead.facts = derive_facts(facts, lead.state)


def _move(lead: Folding, reading: Reading, state: State, reply: JournalledReply, facts: Facts) -> None:
    if lead.state is State.ABANDONED:
        # We gave up while this reply was waiting to be persisted: it counts all the same.
        lead.moves.append(Move(lead.lead_id, State.ABANDONED, State.QUEUED, "a reply arrived after all"))
        lead.state = State.QUEUED
    if not may_become(lead.state, state):
        kept = f"regressed: {reading.reason}; kept {lead.state}"
        lead.moves.append(
            Move(lead.lead_id, lead.state, lead.state, kept, reply.reply_id, lead.state_reason, lead.resolved_at)
        )
        return
    lead.state_reason = _say_reason(reading, facts)
    lead.resolved_at = (lead.resolved_at or _resolved_at(facts, reply)) if state in FINAL else None
    lead.moves.append(
        Move(lead.lead_id, lead.state, state, reading.reason, reply.reply_id, lead.state_reason, lead.resolved_at)
    )
    lead.state = state


def _say_reason(reading: Reading, facts: Facts) -> str:
    detail = facts.result_reason
    return reading.reason if detail is None or detail == "OK" else f"{reading.reason} ({detail})"


def _resolved_at(facts: Facts, reply: JournalledReply) -> datetime:
    stamp = facts.processed_at
    return stamp if stamp is not None and stamp <= reply.received_at + CLOCK_SLACK else reply.received_at


def _start_folding(lead: KnownLead) -> Folding:
    return Folding(lead.lead_id, lead.queue_id, lead.state, lead.state_reason, lead.resolved_at, lead.facts)


def _make_outcome(lead: Folding) -> Outcome:
    assert lead.last_reply is not None
    return Outcome(lead.lead_id, lead.facts, lead.last_reply.reply_id, lead.last_reply.received_at)


def _move_in_rounds(connection: Connection, leads: list[Folding], now: datetime) -> None:
    """Each lead's first move, then each one's second: nearly always there is one round."""
    for moves in zip_longest(*(lead.moves for lead in leads)):
        move_leads(connection, [move for move in moves if move is not None], now)
