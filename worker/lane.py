"""One account's batches under way in this process: they share its permits, its room for requests, and its stop.

Each claim brings permits of the account's concurrency. Here they belong to all batches together, and pass from one that
ends to another: the last leads of a batch would otherwise leave most of its permits idle while they are waited for.
Neighbours: `worker.asking` knows a batch, `worker.polling` fills lanes and empties them, `worker.store.claims`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import count

from worker.accounts import Account
from worker.asking import SETTLE_SOON_SECONDS, Batch, Told
from worker.domain.answers import Asked
from worker.domain.classify import Meaning
from worker.leadbyte.client import Question
from worker.store.budget import MOMENTS_AHEAD
from worker.store.moments import Wanted
from worker.store.settling import Release

_LEAST_ANSWER_SECONDS = 0.01
HELD_UP_SECONDS = 0.1  # without an answer
CLOSING_SECONDS = 0.01  # how soon to look whether the last request of a turn has left


class Lane:
    """The batches of one account whose requests are under way together. `id` names the window's lane."""

    def __init__(self, id_: int, account: Account) -> None:
        self.id, self.account = id_, account
        self.batches: dict[int, Batch] = {}  # by claim, the oldest first
        self.answer_seconds = math.inf  # how long the last few took, the slower ones, from when they were asked for
        self.at_most = math.inf  # requests that the window has under way at once
        self.answered_at = -math.inf  # `time.monotonic()` of the last answer, or of the last claim
        self.is_handed_over = False  # another process may go on with the account

    def add(self, batch: Batch) -> None:
        """A claim more."""
        self.batches[batch.claim.id] = batch
        self.answered_at = max(self.answered_at, batch.read_at)

    def count_permits(self) -> int:
        """How many requests may be under way at once: the permits that we hold."""
        return sum(batch.permits for batch in self.batches.values())

    def count_unanswered(self) -> int:
        """Leads still to be answered."""
        return sum(len(batch.unanswered) for batch in self.batches.values())

    def find_wanted(self, *, with_permits: bool = True) -> Wanted | None:
        """Moments for those that wait and could leave in time, and permits for those without; None: not now.

        `with_permits`: not while a settlement is under way, which says how many permits its batch keeps.
        """
        room, waiting, permits = self._count_room(), self._count_waiting(), self.count_permits()
        requests = max(0, min(room, waiting))
        most_more = max(0, self.account.concurrency - permits) if with_permits else 0
        held_up = max(0, min(self.count_unanswered() - waiting - permits, most_more)) if self._is_held_up() else 0
        lacking = min(waiting - requests, most_more - held_up)
        # Of those that may have a moment before they have a permit, half are there still: that is soon enough.
        is_enough = 2 * room < self._count_turns() - self._count_at_once()
        if not lacking and not held_up and (is_enough or not requests):
            return None
        return Wanted(requests, lacking, self._newest.claim.id, held_up)

    def _is_held_up(self) -> bool:
        # Others have their moments since permits were to become free for them: but one that hangs keeps its own.
        return time.monotonic() - self.answered_at > HELD_UP_SECONDS

    def take_permits(self, wanted: Wanted, permits: int) -> None:
        """So many of those that were wanted."""
        self.batches[wanted.claim].permits += permits

    def leaves_permits(self) -> bool:
        """Whether others could ask something while our last answers are waited for."""
        return self.count_unanswered() < self._count_borne()

    def may_ask_under(self, paused_until: datetime) -> bool:
        """Whether it is there to find out if the trouble is over for which its account is paused until then."""
        ends = [batch.claim.probe_until for batch in self.batches.values() if batch.claim.probe_until is not None]
        return bool(ends) and paused_until <= max(ends)

    def has_free_permits(self) -> bool:
        """Whether others could ask something before our last answers are settled."""
        return self.count_permits() < self._count_borne()

    def _count_borne(self) -> int:
        most = self.account.concurrency
        return min(most, self._newest.claim.borne) if self.batches else most

    def has_unasked(self) -> bool:
        """Whether some were given up, and are not settled yet."""
        return any(told.reading.meaning is Meaning.UNASKED for batch in self.batches.values() for told in batch.told)

    def list_told(self) -> list[Batch]:
        """Those with answers that can be settled before others of theirs are there."""
        return [batch for batch in self.batches.values() if batch.told and not batch.troubles]

    def count_spare_room(self) -> int:
        """How many leads of one claim more could leave in time, after those that wait."""
        return max(0, self._count_room() - self._count_waiting()) if self.batches else 0

    def _count_room(self) -> int:
        """How many more could leave in time, if they had moments: as far as permits are free then."""
        return self._count_turns() - self.count_unanswered() + self._count_waiting()

    def _count_turns(self) -> int:
        turns = 1 + MOMENTS_AHEAD.total_seconds() / max(self.answer_seconds, _LEAST_ANSWER_SECONDS)
        return int(self._count_at_once() * turns)

    def _count_at_once(self) -> float:
        """More than these have no room to leave, whatever permits they have."""
        return min(self.count_permits(), self.at_most)

    def _count_waiting(self) -> int:
        return sum(len(batch.waiting) for batch in self.batches.values())

    def wants_more(self) -> bool:
        """Whether the next batch is claimed now: before it is needed, so that the window is never empty."""
        # Those that can't be under way yet: while answers are slow, more permits still help to use the budget.
        held_up = max(self._count_waiting(), self.count_unanswered() - self.count_permits())
        return held_up <= len(self._newest.claim.leads) // 2

    @property
    def _newest(self) -> Batch:
        return next(reversed(self.batches.values()))

    def take_waiting(self, moments: Sequence[float]) -> list[Question]:
        """One question for each of these moments of `time.monotonic()`, the oldest batch first."""
        questions: list[Question] = []
        for batch in self.batches.values():
            questions += batch.take_waiting(moments[len(questions) :])
        return questions

    def put_back(self, questions: Sequence[Question]) -> None:
        """These could not be sent: they wait again."""
        for question in questions:
            self.batches[question.claim_id].put_back(question)

    def take_answer(self, question: Question, asked: Asked, now: float) -> Told:
        """Read one answer, which came at `now` (`time.monotonic()`), and keep it until it is settled."""
        self.answered_at = now
        return self.batches[question.claim_id].take_answer(question.tag, asked, now)

    def give_up_waiting(self, *, overdue_only: bool = False) -> None:
        """Those that wait are not asked about this time."""
        for batch in self.batches.values():
            if not overdue_only or batch.is_overdue():
                batch.give_up_waiting()

    def drop(self, batch: Batch) -> None:
        """The claim ends without having been asked about, and its permits with it."""
        del self.batches[batch.claim.id]

    def release(self, batch: Batch) -> Release:
        """What becomes of the permits that the batch needs no more; a batch without unanswered leads leaves the lane.

        They pass on as far as the lane's other leads need them, some of which may be under way on them already. Which
        batch has them is only for Postgres to know: they pass on again when that one ends.
        """
        left = len(batch.unanswered)
        freed = max(0, batch.permits - left)
        batch.permits -= freed
        if not left:
            del self.batches[batch.claim.id]
        heirs = [other for other in self.batches.values() if other is not batch]
        if not heirs:
            return Release(left, freed)
        passed_on = max(0, min(freed, self.count_unanswered() - self.count_permits()))
        heirs[-1].permits += passed_on
        return Release(left, freed, heirs[-1].claim.id, passed_on)


class Lanes:
    """The lanes of one run of polling: one open lane an account at most, and those that were closed until they end."""

    def __init__(self) -> None:
        self._lanes: dict[int, Lane] = {}
        self._open: dict[str, Lane] = {}
        self._new_ids = count()

    def __iter__(self) -> Iterator[Lane]:
        """All that have batches."""
        return iter(list(self._lanes.values()))

    def __len__(self) -> int:
        """How many have batches."""
        return len(self._lanes)

    def __getitem__(self, id_: int) -> Lane:
        """By the number of the window's lane."""
        return self._lanes[id_]

    def find_open(self, account: Account) -> Lane | None:
        """Where more of the account is asked."""
        return self._open.get(account.name)

    def is_open(self, lane: Lane) -> bool:
        """Whether more is asked in it."""
        return self._open.get(lane.account.name) is lane

    def list_open(self) -> list[Lane]:
        """Those in which more is asked."""
        return list(self._open.values())

    def list_closed(self) -> list[Lane]:
        """Those in which nothing more is asked, and whose account has not been handed over yet."""
        return [lane for lane in self if not self.is_open(lane) and not lane.is_handed_over]

    def find_wait(self, *, is_closing: bool) -> float:
        """Seconds to wait for answers in one go at most; `is_closing`: some of a closed lane have yet to leave."""
        if is_closing:
            return CLOSING_SECONDS
        # The answers of a closed lane give permits back, for which others wait.
        return SETTLE_SOON_SECONDS if len(self._lanes) > len(self._open) else math.inf

    def make(self, account: Account) -> Lane:
        """The account's next lane; without a batch it is none of ours yet."""
        return Lane(next(self._new_ids), account)

    def keep(self, lane: Lane) -> None:
        """It has a batch now."""
        self._lanes[lane.id] = self._open[lane.account.name] = lane

    def close(self, lane: Lane) -> bool:
        """Ask nothing more in this lane; False if nothing was any more."""
        is_open = self.is_open(lane)
        if is_open:
            del self._open[lane.account.name]
        return is_open

    def forget(self, lane: Lane) -> None:
        """Its last batch has ended."""
        del self._lanes[lane.id]
        self.close(lane)

    def list_awaited(self, since: float) -> set[str]:
        """The accounts with batches that were claimed by then (`time.monotonic()`)."""
        return {lane.account.name for lane in self if any(batch.read_at <= since for batch in lane.batches.values())}
