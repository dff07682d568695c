"""Polling: claim due leads of every account, ask about them, settle the answers, as long as there is due work.

There is one window of requests under way for all accounts together, filled up before it is empty and emptied as answers
come: a slow answer holds up nobody, and no transaction is open while LeadByte is asked. A crash at any point leaves
leases that run out. Neighbours: `worker.store.claims` (what is due), `worker.asking`, `worker.settlement`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from worker.accounts import Account
from worker.asking import Batch, ends_the_batch
from worker.domain.classify import Meaning
from worker.domain.decide import Policy
from worker.errors import DatabaseUnavailable, SettingsError
from worker.failpoints import reach
from worker.leadbyte.client import LeadByteClient
from worker.reserving import RESERVE_AGAIN_SECONDS, Reserver, find_budget
from worker.retrying import retry_while_unavailable
from worker.schedule_book import ChooseSchedule
from worker.settlement import Polled, hand_back, settle
from worker.store.claims import LEADS_A_PERMIT, claim_due_leads
from worker.store.db import read_clock, transaction

# Answers wait at most this long for others to be settled with: a statement costs the same for one as for hundreds.
SETTLE_WITHIN_SECONDS = 0.25
# How soon to look again at an account that had nothing to claim, while requests of others are under way.
CLAIM_AGAIN_SECONDS = 0.25
SUSPECTS_A_TURN = 20


@dataclass(frozen=True, slots=True)
class Poller:
    """All that polling needs."""

    engine: Engine
    client: LeadByteClient
    accounts: Mapping[str, Account]
    policy: Policy
    batch_size: int
    keep_lead_data: bool = False
    # Re-checks compare the facts of a verdict with those told before; without them persistence alone reads facts.
    reads_facts: bool = True
    choose_schedule: ChooseSchedule | None = None  # None: every lead goes by the policy's


def poll_while_due(poller: Poller, may_go_on: Callable[[], bool]) -> Iterator[Polled]:
    """Poll until nothing is due any more, claiming nothing once `may_go_on` says no; yields what was settled.

    Raises:
        DatabaseUnavailable: what was claimed stays leased, and becomes due again when the lease has run out.
    """
    accounts = list(poller.accounts.values())
    random.shuffle(accounts)  # no account is always last
    run = _Run(poller, accounts, may_go_on)
    try:
        yield from run.poll_all()
        # A suspect may kill its worker: nothing else may be under way then.
        yield from run.poll_suspects()
    finally:
        run.close()


def poll_account(poller: Poller, account: Account, *, suspects: bool = False) -> Polled | None:
    """Poll one batch of the account's due leads; None if nothing could be claimed."""
    run = _Run(poller, [account], lambda: False)
    try:
        if not run.claim(account, suspects=suspects):
            return None
        return sum(run.drain(), start=Polled())
    finally:
        run.close()


class _Run:
    """The batches under way in this process: one lane of the window each, named by the claim's id."""

    def __init__(self, poller: Poller, accounts: Sequence[Account], may_go_on: Callable[[], bool]) -> None:
        self._poller, self._accounts, self._may_go_on = poller, list(accounts), may_go_on
        self._window = poller.client.open_window(ends_the_batch)
        self._batches: dict[int, Batch] = {}
        self._claim_again_at: dict[str, float] = {}
        self._reserver = Reserver(poller.engine)
        self._over_at: float | None = None

    def close(self) -> None:
        """Forget what is still under way; nothing is, unless an error ended the run."""
        self._window.close()

    def poll_all(self) -> Iterator[Polled]:
        """Keep the window full until nothing is due."""
        while True:
            self._fill_window()
            if not self._batches:
                return
            self._send_waiting()
            yield from self._take_answers()

    def poll_suspects(self) -> Iterator[Polled]:
        """Leads that may have killed their workers, each alone."""
        for account in self._accounts:
            for _ in range(SUSPECTS_A_TURN):
                if not self._may_go_on() or not self.claim(account, suspects=True):
                    break
                yield from self.drain()

    def drain(self) -> Iterator[Polled]:
        """Wait for what is under way, and settle it."""
        while self._batches:
            self._send_waiting()
            yield from self._take_answers()

    def claim(self, account: Account, *, suspects: bool = False) -> bool:
        """Claim one batch and put its questions into the window; False if there was none to claim."""
        batch = self._open_batch(account, suspects=suspects)
        if batch is None:
            return False
        reach("poll.after_claim", (lead.queue_id for lead in batch.claim.leads))
        try:
            self._window.add(account, batch.claim.id, batch.list_questions(), batch.claim.permits)
        except SettingsError as error:
            hand_back(self._poller.engine, batch, str(error))
            return False
        self._batches[batch.claim.id] = batch
        return True

    def _open_batch(self, account: Account, *, suspects: bool) -> Batch | None:
        with transaction(self._poller.engine) as connection:
            now, read_at = read_clock(connection), time.monotonic()
            size = self._poller.batch_size
            claim = claim_due_leads(connection, account.name, find_budget(account), now, size, suspects=suspects)
        return None if claim is None else Batch(account, claim, now, read_at, self._poller.reads_facts)

    def _fill_window(self) -> None:
        for account in self._list_fillable():
            now = time.monotonic()
            # With nothing under way there is nobody to wait for: what had no permit free a moment ago has one now.
            is_time = not self._batches or now >= self._claim_again_at.get(account.name, 0.0)
            if is_time and self._has_room(account):
                found = self._try_to_claim(account)
                self._claim_again_at[account.name] = 0.0 if found else now + CLAIM_AGAIN_SECONDS

    def _try_to_claim(self, account: Account) -> bool:
        try:
            return self.claim(account)
        except DatabaseUnavailable:
            if self._batches:
                return False  # the answers under way are waited for, and Postgres with them
            raise

    def _list_fillable(self) -> list[Account]:
        """All accounts until the turn is over; then those of which nothing is awaited: one that hangs holds up none."""
        if self._over_at is None:
            if self._may_go_on():
                return self._accounts
            self._over_at = time.monotonic()
        awaited = {b.account.name for b in self._batches.values() if b.read_at <= self._over_at}
        return [account for account in self._accounts if account.name not in awaited] if awaited else []

    def _has_room(self, account: Account) -> bool:
        """Whether the account's next batch is claimed now: before it is needed, so that the window is never empty."""
        ours = self._list_batches(account)
        # Slow answers: it takes more permits than one batch has to use the budget.
        if not ours or (len(ours) == 1 and ours[0].waiting and not ours[0].count_room()):
            return True
        # A batch that is smaller than it could be took all that the budget allows for the next seconds.
        waiting, newest = sum(len(batch.unanswered) for batch in ours), ours[-1].claim
        is_full = len(newest.leads) >= min(self._poller.batch_size, newest.permits * LEADS_A_PERMIT)
        return waiting <= (self._poller.batch_size if is_full else len(newest.leads) // 2)

    def _send_waiting(self) -> None:
        """Have those sent that wait for a moment, as far as there is room and the budget has moments near enough."""
        for account in self._accounts:
            batches = [batch for batch in self._list_batches(account) if batch.waiting]
            for batch in batches:
                batch.give_up_overdue()
            rooms = [(batch, room) for batch in batches if (room := batch.count_room()) > 0]
            if rooms and self._reserver.may_reserve(account):
                self._reserve(account, rooms)

    def _reserve(self, account: Account, rooms: Sequence[tuple[Batch, int]]) -> None:
        moments, reserved = self._reserver.reserve(account, sum(room for _, room in rooms))
        if reserved.is_paused:
            self._stop(account)
        for batch, room in rooms:
            if reserved.is_used_up:
                batch.give_up_waiting()
            questions, moments = batch.take_waiting(moments[:room]), moments[room:]
            try:
                self._window.add(account, batch.claim.id, questions, batch.claim.permits)
            except SettingsError:  # the next claim says so, and pauses the account
                batch.put_back(questions)
                batch.give_up_waiting()

    def _list_batches(self, account: Account) -> list[Batch]:
        return [batch for batch in self._batches.values() if batch.account.name == account.name]

    def _take_answers(self) -> Iterator[Polled]:
        if not len(self._window):
            time.sleep(RESERVE_AGAIN_SECONDS)  # all wait for their moments
        for lane, lead_id, asked in self._window.take(SETTLE_WITHIN_SECONDS):
            batch = self._batches[lane]
            if batch.take_answer(lead_id, asked).reading.meaning is Meaning.THROTTLED:
                self._stop(batch.account)
        for batch in list(self._batches.values()):
            if self._is_ripe(batch):
                yield self._settle(batch)

    def _is_ripe(self, batch: Batch) -> bool:
        """Whether its answers are settled now: all are there, or enough, or one has waited, or it brings trouble."""
        if not batch.unanswered:
            return True
        if not batch.told or not batch.knows_its_trouble():
            return False
        return (
            time.monotonic() - batch.first_told_at >= SETTLE_WITHIN_SECONDS
            or batch.holds_enough(self._poller.batch_size // 2)
            or any(told.reading.meaning is Meaning.THROTTLED for told in batch.told)
        )

    def _settle(self, batch: Batch) -> Polled:
        told = batch.hand_over()
        names = [t.lead.queue_id for t in told]
        reach("poll.before_settle", names)
        poller = self._poller
        settled = retry_while_unavailable(
            lambda: settle(
                poller.engine, poller.policy, batch, told, poller.choose_schedule, keep_lead_data=poller.keep_lead_data
            )
        )
        reach("poll.after_settle", names)
        if not batch.unanswered:
            del self._batches[batch.claim.id]
            self._window.forget(batch.claim.id)
        if settled.is_paused:
            self._stop(batch.account)
        return settled.polled

    def _stop(self, account: Account) -> None:
        """Send nothing more of this account: it was paused, by an answer of ours or of another worker's."""
        for batch in self._list_batches(account):
            self._window.stop(batch.claim.id)
            batch.give_up_waiting()
