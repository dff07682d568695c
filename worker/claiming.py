"""What a run of polling has of the accounts: leads that are due, with permits that are kept, until it hands them over.

One run at a time asks about an account's leads. Two that share its budget are within it only as long as neither is
held up: what one sends late falls between the requests of the other. Neighbours: `worker.polling` asks,
`worker.store.claims`, `worker.store.handing_over`, `worker.permits`.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from worker.accounts import Account
from worker.asking import Batch
from worker.clock import read_sleepless
from worker.errors import DatabaseContended, DatabaseUnavailable, LeadResolverError
from worker.lane import Lane
from worker.leadbyte.client import PollWindow
from worker.leadbyte.pace import WINDOW_SECONDS
from worker.permits import PermitKeeper
from worker.poller import Poller
from worker.reserving import AFTER_A_FAULT_SECONDS, CONTENDED_AGAIN_SECONDS, find_budget
from worker.store.accounts import list_paused
from worker.store.claimable import list_with_due_leads
from worker.store.claims import Claim, Claimant, claim_due_leads
from worker.store.db import read_clock, transaction
from worker.store.handing_over import hand_over, keep_distance

log = structlog.get_logger(__name__)

# How soon to look again at accounts that had nothing to claim, while requests are under way; and how long answers are
# waited for in one go.
CLAIM_AGAIN_SECONDS = 0.25
# The same, in the first second of a run: the run before it hints when its first account is free, and not again for each
# of the others, nor for the permits that its last answers give back.
FOLLOW_SECONDS = 0.02
_FOLLOW_FOR_SECONDS = 1.0
_CONTENDED_MOMENT_SECONDS = 0.01  # of a claim that another has just made, or a settlement
_CONTENDED_MOMENTS = 10
_CLOSING_SECONDS = 1.0  # for accounts that are locked just then
ANSWERED_WITHIN_SECONDS = 0.2  # most questions are
_BOUND = timedelta(seconds=5)  # of one try at handing over: if none succeeds, others come when our permits lapse
_NAME_BITS = 63  # of a run: a bigint that no other run under way has


class Claimer:
    """Claims on behalf of one run of polling, and hands its accounts over; `window` and `keeper` are the run's."""

    def __init__(self, poller: Poller, window: PollWindow, keeper: PermitKeeper) -> None:
        self._poller, self._window, self._keeper = poller, window, keeper
        self._again_at: dict[str, float] = {}
        self._spent_until: dict[str, float] = {}  # of accounts whose budget bears no other claim before
        self._claimable: set[str] = set()
        self._contended: set[str] = set()  # accounts that somebody else had locked at the last claim
        self._look_at = self._look_for_pauses_at = 0.0
        self._follow_until = time.monotonic() + _FOLLOW_FOR_SECONDS
        self._hand_over_at: dict[int, float] = {}  # by lane, from when on that is tried
        self._run = random.getrandbits(_NAME_BITS)

    def list_claimable(self, accounts: Collection[str], *, is_idle: bool) -> Collection[str]:
        """Of these, the accounts with due leads that no other run has, as they were looked up not long ago.

        Idle, with nothing under way, there is nobody to wait for: what had no permit free before may have one now.
        """
        now = time.monotonic()
        if accounts and (is_idle or now >= self._look_at):
            found = self._look_up(accounts)
            self._claimable = {name for name, is_anothers in found.items() if not is_anothers}
            self._look_at = time.monotonic() + self.look_every()
        return {name for name in self._claimable if now >= self._spent_until.get(name, 0.0)}

    def _look_up(self, accounts: Collection[str]) -> Mapping[str, bool]:
        with transaction(self._poller.engine) as connection:
            return list_with_due_leads(connection, accounts, read_clock(connection), self._run)

    def list_paused(self, lanes: Iterable[Lane]) -> Sequence[Lane]:
        """Of these, lanes of slow budgets whose accounts have been paused, as it was looked up not long ago.

        Others' moments are near, and their settlements tell; a probe asks under its pause.
        """
        if time.monotonic() < self._look_for_pauses_at:
            return []
        slow = [lane for lane in lanes if find_budget(lane.account).is_slow]
        slow = [lane for lane in slow if not self._window.look_at(lane.id).is_quiet]
        paused = self._look_for_pauses({lane.account.name for lane in slow}) if slow else {}
        return [lane for lane in slow if (until := paused.get(lane.account.name)) and not lane.may_ask_under(until)]

    def _look_for_pauses(self, accounts: Collection[str]) -> Mapping[str, datetime]:
        again = CLAIM_AGAIN_SECONDS
        try:
            with transaction(self._poller.engine, _BOUND) as connection:
                return list_paused(connection, accounts, read_clock(connection))
        except DatabaseUnavailable:
            again = AFTER_A_FAULT_SECONDS
            return {}  # the answers under way are waited for, and Postgres with them
        finally:
            self._look_for_pauses_at = time.monotonic() + again

    def look_every(self) -> float:
        """Seconds between two looks."""
        return FOLLOW_SECONDS if time.monotonic() < self._follow_until else CLAIM_AGAIN_SECONDS

    def may_claim(self, account: Account) -> bool:
        """Whether the last claim of an account that we have found something, or was long enough ago."""
        name = account.name
        return time.monotonic() >= max(self._again_at.get(name, 0.0), self._spent_until.get(name, 0.0))

    def note_settled(self, account: Account) -> None:
        """There may be something to claim again at once: permits are free, or leads due."""
        self._again_at[account.name] = 0.0
        self._claimable.add(account.name)

    def claim(self, lane: Lane) -> Batch | None:
        """Due leads of the lane's account, for this lane; None if there are none for us, or somebody has locked it."""
        account, began_at = lane.account, read_sleepless()
        self._again_at[account.name] = time.monotonic() + CLAIM_AGAIN_SECONDS
        self._claimable.discard(account.name)
        claimant = Claimant(self._run, lane.count_permits(), lane.count_spare_room(), self._keeper.lease)
        size = self._poller.batch_size
        try:
            with transaction(self._poller.engine) as connection:
                now, read_at = read_clock(connection), time.monotonic()
                claim = claim_due_leads(connection, account.name, find_budget(account), now, size, claimant)
        except DatabaseContended:
            return self._claim_contended(lane)
        self._contended.discard(account.name)
        if claim is not None:
            self._spent_until[account.name] = read_at + claim.next_in.total_seconds()
        if not isinstance(claim, Claim):
            return None
        self._again_at[account.name] = 0.0
        self._keeper.hold(claim.id, began_at)
        return Batch(account, claim, now, read_at, self._poller.reads_facts)

    def _claim_contended(self, lane: Lane) -> Batch | None:
        """In a moment, where nothing is under way and nobody had the account locked the last time; else soon.

        Soon: with the next answers, or at the next look.
        """
        name = lane.account.name
        is_first = name not in self._contended
        self._contended.add(name)
        if is_first and not len(self._window):  # no request is held up
            time.sleep(_CONTENDED_MOMENT_SECONDS)
            return self.claim(lane)
        again = _CONTENDED_MOMENT_SECONDS if is_first else CONTENDED_AGAIN_SECONDS
        self._again_at[name] = time.monotonic() + again
        self._look_at = min(self._look_at, self._again_at[name])
        return None

    def have_lapsed(self, lane: Lane) -> bool:
        """Whether nothing more may be sent under the lane's permits."""
        return self._keeper.have_lapsed(lane.batches)

    def drop(self, batch: Batch) -> None:
        """The batch's claim has ended."""
        self._keeper.drop(batch.claim.id)

    def keep_distance(self, lane: Lane) -> None:
        """Before the lane's last claim is settled: if its last request left late, no other may leave soon after it."""
        free_at = None if lane.batches or lane.is_handed_over else self._window.find_overrun(lane.id)
        if free_at is None:
            return
        for _ in range(_CONTENDED_MOMENTS):  # and no longer: requests of other accounts are held up
            try:
                self._try("distance_not_kept", lane, lambda connection: self._keep_distance(connection, lane, free_at))
            except DatabaseContended:
                time.sleep(_CONTENDED_MOMENT_SECONDS)
            else:
                return
        log.warning("distance_not_kept", account=lane.account.name, error="somebody else has locked the account")

    def may_hand_over(self, lane: Lane) -> bool:
        """Whether all that was to be asked in this lane has left, and another run could ask something."""
        if not self._window.look_at(lane.id).is_quiet or not lane.leaves_permits():
            return False
        # With the last answer the account is anybody's at once: in time, where its next moment is not near.
        soon = time.monotonic() + (ANSWERED_WITHIN_SECONDS if find_budget(lane.account).is_slow else 0.0)
        return time.monotonic() >= self._hand_over_at.setdefault(lane.id, soon)

    def hand_over(self, lane: Lane) -> bool:
        """Nothing more leaves in this lane: another run may ask about its account's leads. False: not yet."""
        again = AFTER_A_FAULT_SECONDS
        try:
            if self._try_to_hand_over(lane):
                return True
        except DatabaseContended:
            again = CONTENDED_AGAIN_SECONDS
        self._hand_over_at[lane.id] = time.monotonic() + again
        return False

    def _try_to_hand_over(self, lane: Lane) -> bool:
        free_at = self._window.find_overrun(lane.id)

        def do(connection: Connection) -> None:
            if free_at is not None:
                self._keep_distance(connection, lane, free_at)
            hand_over(connection, lane.batches)

        return self._try("account_not_handed_over", lane, do)

    def close(self, lanes: Iterable[Lane]) -> None:
        """Keep no permits any more; these lanes were cut off by an error, and their accounts are anybody's."""
        self._keeper.close()
        left, until = deque(lanes), time.monotonic() + _CLOSING_SECONDS
        while left:
            lane = left.popleft()
            try:
                if not self._try_to_hand_over(lane):
                    break  # Postgres is away; others may when our permits have lapsed
            except DatabaseContended:
                if time.monotonic() < until:
                    left.append(lane)
                    time.sleep(_CONTENDED_MOMENT_SECONDS)

    def _keep_distance(self, connection: Connection, lane: Lane, free_at: float) -> None:
        # By then there is room, whatever has left until now; a connection that is still made is cut off.
        longest = max(WINDOW_SECONDS, 1 / find_budget(lane.account).requests_per_second)
        wait = timedelta(seconds=min(max(0.0, free_at - time.monotonic()), longest))
        keep_distance(connection, lane.account.name, read_clock(connection), wait)

    def _try(self, event: str, lane: Lane, do: Callable[[Connection], None]) -> bool:
        try:
            with transaction(self._poller.engine, _BOUND) as connection:
                do(connection)
        except DatabaseContended:
            raise
        except LeadResolverError as error:
            log.warning(event, account=lane.account.name, error=str(error))
            return False
        return True
