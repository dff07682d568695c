"""Polling: claim due leads of every account, ask about them, settle the answers, as long as there is due work.

There is one window of requests under way for all accounts together, filled up before it is empty and emptied as answers
come: a slow answer holds up nobody, and no transaction is open while LeadByte is asked. A crash at any point leaves
leases that run out. Neighbours: `worker.claiming` (what is due), `worker.lane`, `worker.settling_thread`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing

from worker.accounts import Account
from worker.asking import Batch, ends_the_lane, tell_of_account
from worker.claiming import Claimer
from worker.errors import DatabaseUnavailable, SettingsError
from worker.failpoints import reach
from worker.lane import Lane, Lanes
from worker.permits import PermitKeeper
from worker.picking import Ask, Picker
from worker.poller import Poller
from worker.reserving import RESERVE_AGAIN_SECONDS, Reserver
from worker.settlement import Polled, hand_back
from worker.settling_thread import MOST_HANDED_IN, SettlingThread, Share
from worker.store.moments import Wanted
from worker.suspects import Suspects

SUSPECTS_A_TURN = 20

Tell = Callable[[], None]


def poll_while_due(poller: Poller, may_go_on: Ask, on_handed_over: Tell = lambda: None) -> Iterator[Polled]:
    """Poll until nothing is due any more; yields what was settled.

    Once `may_go_on` says no, nothing more is claimed but one lead that may have killed its workers, if there is any.

    `on_handed_over` is called when another process can go on with an account: answers may be waited for meanwhile.

    Raises:
        DatabaseUnavailable: what was claimed stays leased, and becomes due again when the lease has run out.
    """
    accounts = list(poller.accounts.values())
    random.shuffle(accounts)  # no account is always last
    with closing(_Run(poller, accounts, may_go_on, on_handed_over)) as run:
        yield from run.poll_all()
        # A suspect may kill its worker: nothing else may be under way then.
        yield from run.poll_suspects()


def poll_account(poller: Poller, account: Account) -> Polled | None:
    """Poll one batch of the account's due leads; None if nothing could be claimed."""
    with closing(_Run(poller, [account], lambda: False, lambda: None)) as run:
        return sum(run.drain(), start=Polled()) if run.claim(account) else None


class _Run:
    """The lanes under way in this process, and the threads that settle their answers and keep their permits."""

    def __init__(self, poller: Poller, accounts: Sequence[Account], may_go_on: Ask, on_handed_over: Tell) -> None:
        self._poller, self._may_go_on = poller, may_go_on
        self._accounts = {account.name: account for account in accounts}
        self._on_handed_over = on_handed_over
        self._window = poller.client.open_window(ends_the_lane)
        self._settling = SettlingThread(poller.settle)
        self._lanes = Lanes()
        self._reserver = Reserver(poller.engine)
        keeper = PermitKeeper(poller.engine, poller.client.timeout_seconds)
        self._claimer, self._suspects = Claimer(poller, self._window, keeper), Suspects(poller, keeper)
        self._picker = Picker(accounts, may_go_on, self._claimer, self._lanes)

    def close(self) -> None:
        """Forget what is still under way; nothing is, unless an error ended the run."""
        self._window.close()
        self._settling.close()
        self._claimer.close(self._lanes)

    def poll_all(self) -> Iterator[Polled]:
        """Keep the window full until nothing is due."""
        while True:
            self._fill_window(self._picker.list_fillable())
            if self._is_busy():
                yield from self._go_on()
            elif not self._picker.has_more:
                return

    def poll_suspects(self) -> Iterator[Polled]:
        """Leads that may have killed their workers, each alone; the first of them even where the turn is over."""
        for name in self._suspects.list_accounts(self._accounts):
            account = self._accounts[name]
            for _ in range(SUSPECTS_A_TURN):
                batch = self._suspects.claim(account)
                if batch is None:
                    break
                self._begin(self._lanes.make(account), batch)
                yield from self.drain()
                if not self._may_go_on():
                    return

    def drain(self) -> Iterator[Polled]:
        """Wait for what is under way, and settle it."""
        while self._is_busy():
            yield from self._go_on()

    def claim(self, account: Account) -> bool:
        """Claim one batch and put its questions into the window; False if there was none to claim."""
        lane = self._find_lane(account) or self._lanes.make(account)
        batch = self._claimer.claim(lane)
        return batch is not None and self._begin(lane, batch)

    def _begin(self, lane: Lane, batch: Batch) -> bool:
        account = lane.account
        reach("poll.after_claim", (lead.queue_id for lead in batch.claim.leads))
        lane.add(batch)
        try:
            self._window.add(account, lane.id, batch.list_questions(), lane.count_permits(), batch.claim.gap)
        except SettingsError as error:
            lane.drop(batch)
            hand_back(self._poller.engine, batch, str(error))
            self._claimer.drop(batch)
            return False
        self._lanes.keep(lane)
        return True

    def _is_busy(self) -> bool:
        return bool(self._lanes or self._settling)

    def _go_on(self) -> Iterator[Polled]:
        if not self._lanes:
            yield from self._take_settled(at_most_left=0)  # it frees permits, and some of it may be due again
            return
        for lane in self._claimer.list_paused(self._lanes):
            self._stop_lane(lane)
        self._send_waiting()
        self._take_answers()
        for lane in self._lanes:
            for batch in list(lane.batches.values()):
                if batch.is_ripe(is_awaited=not self._lanes.is_open(lane)):
                    yield from self._hand_in(lane, batch)
        for lane in self._lanes.list_closed():
            if self._claimer.have_lapsed(lane):
                self._stop_lane(lane)
            elif self._claimer.may_hand_over(lane):
                yield from self._hand_over(lane)
        yield from self._take_settled()

    def _fill_window(self, fillable: Mapping[str, Account]) -> None:
        for lane in self._lanes.list_open():
            if lane.account.name not in fillable:  # its turn is over: nothing more leaves but what has its moment
                self._lanes.close(lane)
                lane.give_up_waiting()
        try:
            for account in self._picker.pick(fillable, self._find_lane, is_idle=not self._is_busy()):
                self.claim(account)
        except DatabaseUnavailable:
            if not self._is_busy():
                raise  # else the answers under way are waited for, and Postgres with them

    def _find_lane(self, account: Account) -> Lane | None:
        """The account's open lane; one whose permits have lapsed is stopped instead."""
        lane = self._lanes.find_open(account)
        if lane is None or not self._claimer.have_lapsed(lane):
            return lane
        self._stop_lane(lane)
        return None

    def _send_waiting(self) -> None:
        """Have those sent that wait for a moment, as far as there is room and the budget has moments near enough."""
        for lane in self._lanes.list_open():
            if self._find_lane(lane.account) is not None:
                lane.give_up_waiting(overdue_only=True)
                wanted = lane.find_wanted(with_permits=not self._settling)
                if wanted is not None and self._reserver.may_reserve(lane.account):
                    self._reserve(lane, wanted)

    def _reserve(self, lane: Lane, wanted: Wanted) -> None:
        moments, reserved = self._reserver.reserve(lane.account, wanted)
        lane.take_permits(wanted, reserved.permits)
        if reserved.is_paused:
            self._stop_lane(lane)
        if self._find_lane(lane.account) is None:  # Postgres may have taken its time
            return
        if reserved.is_used_up:
            lane.give_up_waiting()
        questions = lane.take_waiting(moments)
        try:
            self._window.add(lane.account, lane.id, questions, lane.count_permits(), reserved.gap)
        except SettingsError:  # the next claim says so, and pauses the account
            lane.put_back(questions)
            lane.give_up_waiting()

    def _take_answers(self) -> None:
        if not len(self._window) and not self._picker.has_more:
            time.sleep(RESERVE_AGAIN_SECONDS)  # all wait for their moments
        is_closing = not all(self._window.look_at(lane.id).is_quiet for lane in self._lanes.list_closed())
        wait = min(self._claimer.look_every(), self._lanes.find_wait(is_closing=is_closing))
        taken, now = self._window.take(0.0 if self._picker.has_more else wait), time.monotonic()
        for lane_id, question, asked in taken:
            self._lanes[lane_id].take_answer(question, asked, now)
        for lane_id in {lane_id for lane_id, _, _ in taken}:
            lane, look = self._lanes[lane_id], self._window.look_at(lane_id)
            lane.answer_seconds, lane.at_most = look.answer_seconds, look.at_most
            if look.is_stopped:  # by `ends_the_lane`; what is asked from now on needs another
                self._stop_lane(lane)

    def _hand_in(self, lane: Lane, batch: Batch) -> Iterator[Polled]:
        told, release = batch.hand_over(), lane.release(batch)
        self._claimer.keep_distance(lane)
        self._settling.hand_in(Share(lane, batch, told, release))
        if not lane.batches:
            self._window.forget(lane.id)
            self._lanes.forget(lane)
        elif self._lanes.is_open(lane):
            self._window.bound(lane.id, lane.count_permits())
        # What tells of the account is heeded before anything more is asked.
        yield from self._take_settled(at_most_left=0 if tell_of_account(told) else MOST_HANDED_IN)

    def _hand_in_told(self, lane: Lane, *, at_most_left: int = MOST_HANDED_IN) -> Iterator[Polled]:
        for batch in lane.list_told():
            yield from self._hand_in(lane, batch)
        yield from self._take_settled(at_most_left)

    def _hand_over(self, lane: Lane) -> Iterator[Polled]:
        """Let another process go on with the lane's account; here its last answers are still waited for."""
        if self._settling or lane.has_unasked() or not lane.has_free_permits():
            yield from self._hand_in_told(lane, at_most_left=0)  # only then there is something for whoever comes
        if not lane.batches or self._claimer.hand_over(lane):
            lane.is_handed_over = True
            self._on_handed_over()
            yield from self._hand_in_told(lane)

    def _take_settled(self, at_most_left: int = MOST_HANDED_IN) -> Iterator[Polled]:
        for share, settled in self._settling.take_settled(at_most_left):
            self._claimer.note_settled(share.lane.account)
            if not share.release.left:
                self._claimer.drop(share.batch)
            for lane in self._lanes:
                if (settled.is_paused or settled.has_lost_permits) and lane.account is share.lane.account:
                    self._stop_lane(lane)
            yield settled.polled

    def _stop_lane(self, lane: Lane) -> None:
        """Send nothing more in this lane; what is asked of its account from now on needs another."""
        self._lanes.close(lane)
        self._window.stop(lane.id)
        lane.give_up_waiting()
