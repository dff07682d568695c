"""Folding: what one reply after the other makes of a lead. Pure; the same for persistence, replay and explanation.

Neighbours: `worker.results` records what comes of it, `worker.evidence` says which reply a fact is from.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct, field
from msgspec.structs import replace

from worker.accounts import Account
from worker.domain.acceptance import Acceptance, conclude, forget_conclusion
from worker.domain.changes import describe_changes
from worker.domain.classify import Meaning, Reading, classify_reply
from worker.domain.facts import NOTHING_TOLD, Facts, Named, derive_facts, join_facts, recognise_facts
from worker.domain.lifecycle import FINAL, State, may_become
from worker.domain.ordinary import read_ordinary
from worker.leadbyte.wire import decode_text
from worker.store.leads import Move
from worker.store.outcomes import Seen
from worker.store.worklist import JournalledReply

# LeadByte's clock may be a little ahead of ours; a `processed` stamp further in the future than this is no such stamp.
CLOCK_SLACK = timedelta(minutes=5)
_OF_THE_LEAD = frozenset({Meaning.TOLD, Meaning.UNKNOWN_STATUS})  # made once: of its members each costs a look-up


class Folding(Struct):
    """One lead while its replies are being folded in: what is known so far, and the moves that led there."""

    lead_id: int
    queue_id: str
    state: State
    state_reason: str | None
    resolved_at: datetime | None
    facts: Facts
    account: Account | None = None  # as this process has it configured, if it has
    last_reply_id: int = 0
    journal_is_cut: bool = False
    moves: list[Move] = field(default_factory=list[Move])
    seen: dict[str, Seen] = field(default_factory=dict[str, Seen])  # deliveries by key

    def choose_acceptance(self, campaign: Named | None) -> Acceptance:
        """What the account has configured for the campaign; without an account, only what is told counts."""
        return Acceptance.TOLD if self.account is None else self.account.choose_acceptance(campaign)


def fold_reply(lead: Folding, reply: JournalledReply) -> Reading:
    """Join what one reply tells to what is known: the whole meaning of a reply, as a pure step; how it was read."""
    reading = read_reply(lead.queue_id, reply.http_status, reply.body)
    lead.last_reply_id = reply.reply_id
    if reading.meaning not in _OF_THE_LEAD:
        return reading
    known = before = lead.facts
    was_final = lead.state in FINAL
    if before is not NOTHING_TOLD:
        known = forget_conclusion(before, lead.state, lead.choose_acceptance(before.campaign))
    told = recognise_facts(known, reading.facts)
    facts = join_facts(known, told)
    for delivery in told.deliveries or ():
        first_at, _ = lead.seen.get(delivery.key, (reply.received_at, None))
        lead.seen[delivery.key] = (first_at, reply.received_at)
    if reading.state is not None and reading.state is not lead.state:
        _move(lead, reading, reading.state, reply, facts)
    elif reading.state is State.QUARANTINED and before.quarantine_id not in {None, facts.quarantine_id}:
        # It left and came back between two polls; `worker.store.action_looks` knows it by these words.
        _stay(lead, f"held again under quarantine ID {facts.quarantine_id}", reply)
    elif reading.unknown_word is not None and lead.state is not State.ABANDONED:
        _stay(lead, f"regressed: {reading.reason}; kept {lead.state}" if was_final else reading.reason, reply)
    lead.facts = conclude(derive_facts(facts, lead.state), lead.state, lead.choose_acceptance(facts.campaign))
    if was_final and (changes := describe_changes(before, lead.facts)):
        _note_changes(lead, changes, reply)
    return reading


def read_reply(queue_id: str, http_status: int, body: str) -> Reading:
    """What a journalled reply says: at once if it is ordinary, with care if it is not."""
    ordinary = read_ordinary(queue_id, http_status, body)
    if ordinary is not None:
        return ordinary
    decoded = decode_text(body)
    return classify_reply(queue_id, http_status, decoded.document, decoded.text)


def _note_changes(lead: Folding, changes: str, reply: JournalledReply) -> None:
    """After the verdict money and buyers still change: in the event of the move, or in one of its own."""
    if lead.moves and lead.moves[-1].reply_id == reply.reply_id:
        lead.moves[-1] = replace(lead.moves[-1], cause=f"{lead.moves[-1].cause}; {changes}")
        return
    _stay(lead, f"changed after final: {changes}", reply)


def _move(lead: Folding, reading: Reading, state: State, reply: JournalledReply, facts: Facts) -> None:
    if lead.state is State.ABANDONED:
        if state not in FINAL:
            return  # we gave up on this lead, and "not yet" is no reason to begin again
        reopen_abandoned(lead)
    if not may_become(lead.state, state):
        _stay(lead, f"regressed: {reading.reason}; kept {lead.state}", reply)
        return
    resolved_at = (lead.resolved_at or _resolved_at(facts, reply)) if state in FINAL else None
    said = _say_reason(reading, facts)
    add_move(lead, Move(lead.lead_id, lead.state, state, reading.reason, reply.reply_id, said, resolved_at))


def _stay(lead: Folding, cause: str, reply: JournalledReply) -> None:
    """An event without a change of state."""
    reason, resolved_at = lead.state_reason, lead.resolved_at
    add_move(lead, Move(lead.lead_id, lead.state, lead.state, cause, reply.reply_id, reason, resolved_at))


def reopen_abandoned(lead: Folding) -> None:
    """We gave up while the verdict was waiting to be persisted: it counts all the same."""
    if lead.state is State.ABANDONED:
        add_move(lead, Move(lead.lead_id, State.ABANDONED, State.QUEUED, "a verdict arrived after all"))


def add_move(lead: Folding, move: Move) -> None:
    """Move the lead, and keep the move to be carried out."""
    lead.moves.append(move)
    lead.state, lead.state_reason, lead.resolved_at = move.to_state, move.state_reason, move.resolved_at


def _say_reason(reading: Reading, facts: Facts) -> str:
    detail = facts.result_reason
    says_more = detail is not None and detail != "OK" and detail not in reading.reason
    return f"{reading.reason} ({detail})" if says_more else reading.reason


def _resolved_at(facts: Facts, reply: JournalledReply) -> datetime:
    stamp = facts.processed_at
    return stamp if stamp is not None and stamp <= reply.received_at + CLOCK_SLACK else reply.received_at
