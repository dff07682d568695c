"""Persistence: journalled replies become campaign acceptance, buyers, deliveries, money, state and events.

Running it twice, or by two workers at once, or about a reply persisted before, changes nothing. Neighbours:
`worker.polling` fills the journal, `worker.store.worklist` says what waits, `worker.folding` what each reply means,
`worker.store.outcomes` holds the facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest

import structlog
from msgspec.structs import replace
from sqlalchemy import Connection, Engine

from worker.accounts import Account
from worker.domain.acceptance import conclude
from worker.domain.facts import NOTHING_TOLD, Facts, Named, derive_facts, merge_facts
from worker.domain.lifecycle import FINAL, State, may_become
from worker.failpoints import reach
from worker.folding import Folding, add_move, fold_reply, reopen_abandoned
from worker.retrying import retry_while_unavailable
from worker.store.concluding import conclude_leads, unwatch_leads
from worker.store.db import read_clock, transaction
from worker.store.leads import move_leads
from worker.store.outcomes import KnownLead, Outcome, forget_rows, lock_leads, save_outcomes
from worker.store.rechecks import Recheck, enrol_finals
from worker.store.worklist import (
    Attempt,
    JournalledReply,
    attempt_replies,
    read_journal,
    take_parked_replies,
    take_replies,
)

log = structlog.get_logger(__name__)

BATCH = 2000  # a statement costs the same for any number: with 1,000 a lead took a tenth more CPU
Accounts = Mapping[str, Account]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is configured of recording: the accounts, for their acceptance; how finals are re-checked (None: not).

    Of an account that is not configured here, only what replies show is concluded.
    """

    accounts: Accounts = field(default_factory=dict)
    recheck: Recheck | None = None


NO_RULES = Rules()
# What forgotten replies may have told: a name in the first one left may be that of another campaign than a later id's.
_UNTOLD = Named(id="\x00")
_FORGOTTEN = Facts(campaign=_UNTOLD, supplier=_UNTOLD)


@dataclass(frozen=True, slots=True)
class Persisted:
    """What one run did."""

    replies: int = 0
    final: int = 0

    def __add__(self, other: Persisted) -> Persisted:
        return Persisted(self.replies + other.replies, self.final + other.final)


def persist_replies(engine: Engine, rules: Rules = NO_RULES) -> Persisted:
    """Persist all waiting replies, batch by batch; the suspects among them one by one."""
    total = Persisted()
    for suspects, limit in ((False, BATCH), (True, 1)):
        while (done := _persist_batch(engine, limit, rules, suspects=suspects)) is not None:
            total += done
    return total


def _persist_batch(engine: Engine, limit: int, rules: Rules = NO_RULES, *, suspects: bool) -> Persisted | None:
    with transaction(engine) as connection:
        attempt = attempt_replies(connection, limit, suspects=suspects)
    if attempt.parked:
        log.error("replies_parked", replies=attempt.parked)
    if not attempt.reply_ids:
        return Persisted() if attempt.parked else None
    # An attempt that ends with Postgres gone says nothing against the reply: it is made again, not counted again.
    return retry_while_unavailable(lambda: _persist_attempted(engine, attempt, rules))


def _persist_attempted(engine: Engine, attempt: Attempt, rules: Rules = NO_RULES) -> Persisted:
    with transaction(engine) as connection:
        leads = _lock_foldings(connection, attempt.lead_ids, rules)
        replies = take_replies(connection, list(leads), attempt.reply_ids)
        touched = _fold_all(connection, leads, replies)
        _save(connection, touched, rules)
        reach("persist.before_commit", (lead.queue_id for lead in touched))
    final = sum(lead.state in FINAL for lead in touched)
    log.info("replies_persisted", replies=len(replies), leads=len(touched), final=final)
    return Persisted(len(replies), final)


def refold_leads(connection: Connection, lead_ids: Sequence[int], rules: Rules = NO_RULES) -> None:
    """Derive the facts of these leads anew from their whole journal, parked replies included, with today's reader."""
    leads = list(_lock_foldings(connection, lead_ids, rules).values())
    take_parked_replies(connection, [lead.lead_id for lead in leads])
    _replay_journals(connection, leads)
    _save(connection, leads, rules)


def _save(connection: Connection, leads: list[Folding], rules: Rules) -> None:
    now, final = read_clock(connection), [lead.lead_id for lead in leads if lead.state in FINAL]
    save_outcomes(connection, [_make_outcome(lead) for lead in leads if lead.last_reply_id])
    digests = _move_in_rounds(connection, leads, now)
    if rules.recheck is not None:
        enrol_finals(connection, final, digests, rules.recheck, now)
    unwatch_leads(connection, [lead_id for lead_id in final if lead_id not in digests])


def _lock_foldings(connection: Connection, lead_ids: Sequence[int], rules: Rules) -> dict[int, Folding]:
    return {lead.lead_id: _start_folding(lead, rules.accounts) for lead in lock_leads(connection, lead_ids)}


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
    """A reply that newer ones have overtaken can't be folded in on top of them: the facts are derived anew from all.

    Where old replies were forgotten, what those that are left tell is laid over what is recorded: nothing else has the
    facts of the others.
    """
    anew = {lead.lead_id: _begin_anew(lead) for lead in leads}
    told = {lead.lead_id: _FORGOTTEN if lead.journal_is_cut else NOTHING_TOLD for lead in leads}
    for reply in read_journal(connection, list(anew)):
        reading = fold_reply(anew[reply.lead_id], reply)
        told[reply.lead_id] = merge_facts(told[reply.lead_id], reading.facts)
    for lead in leads:
        if lead.journal_is_cut:
            # Not as folded: a buyer's first "Unsold", met in today's final state, would leave a revenue of nothing.
            state, facts = anew[lead.lead_id].state, merge_facts(lead.facts, _leave_out_forgotten(told[lead.lead_id]))
            anew[lead.lead_id].facts = conclude(
                derive_facts(facts, state), state, lead.choose_acceptance(facts.campaign)
            )
    renewed = [lead for lead in leads if _take_over(lead, anew[lead.lead_id])]
    forget_rows(connection, [lead.lead_id for lead in renewed if not lead.journal_is_cut])


def _leave_out_forgotten(told: Facts) -> Facts:
    campaign, supplier = (None if named == _UNTOLD else named for named in (told.campaign, told.supplier))
    if campaign is not None and campaign.id == _UNTOLD.id:
        campaign = replace(campaign, id=None)
    if supplier is not None and supplier.id == _UNTOLD.id:
        supplier = replace(supplier, id=None)
    return replace(told, campaign=campaign, supplier=supplier)


def _begin_anew(lead: Folding) -> Folding:
    if lead.journal_is_cut:
        return replace(lead, moves=[], seen={})
    return Folding(lead.lead_id, lead.queue_id, State.QUEUED, None, None, NOTHING_TOLD, lead.account)


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
        reopen_abandoned(lead)
        verdict = next(move for move in reversed(anew.moves) if anew.state is move.to_state is not move.from_state)
        add_move(lead, replace(verdict, from_state=lead.state, cause=f"replayed: {verdict.cause}", reply_id=None))
    return True


def _start_folding(lead: KnownLead, accounts: Accounts) -> Folding:
    return Folding(
        lead.lead_id,
        lead.queue_id,
        lead.state,
        lead.state_reason,
        lead.resolved_at,
        lead.facts,
        accounts.get(lead.account),
        lead.last_reply_id,
        lead.journal_is_cut,
    )


def _make_outcome(lead: Folding) -> Outcome:
    return Outcome(lead.lead_id, lead.facts, lead.last_reply_id, lead.seen)


def _move_in_rounds(connection: Connection, leads: list[Folding], now: datetime) -> dict[int, int | None]:
    """Each lead's moves but a last one to a final state, round by round; then those: nearly always, they are all.

    Returns the leads that were concluded, each with the digest of its watch, which ends with it.
    """
    last = [lead.moves[-1] for lead in leads if lead.moves and lead.state in FINAL]
    before = [lead.moves[:-1] if lead.state in FINAL else lead.moves for lead in leads]
    for moves in zip_longest(*before):
        move_leads(connection, [move for move in moves if move is not None], now)
    return conclude_leads(connection, last, now)
