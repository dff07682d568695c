"""What an account's budget leaves just now: moments to send at, and permits, for whoever holds the account's lock.

The pacer is the virtual scheduling form of the generic cell rate algorithm (ITU-T I.371): it lets requests out one by
one at the budget's rhythm, so no window of time ever sees more than the budget. Neighbours: `worker.store.claims`,
`worker.store.moments` and `worker.store.slots` take what is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, text

from worker.domain.manners import LEAST_SHARE
from worker.errors import DatabaseContended
from worker.store.accounts import PauseKind, pause_account

# A claim takes as many leads as the budget bears in this time: they are asked well within their lease, and few are left
# to be handed back when a turn ends. Less where that is still a good many: what becomes due now waits for those that
# are claimed already.
PACE_HORIZON = timedelta(seconds=2)
_LEAST_HORIZON = timedelta(seconds=0.5)
_MANY_ENOUGH = 10
# Moments to send at are reserved at most this far ahead, and only for requests that have room to leave: a moment that
# passes unused is lost to the budget, one used later breaks it, and one reserved before a pause falls into the pause.
# Of a budget whose moments are further apart than that, those of a claim are few: each lead with a permit has its own
# with the claim, and neither takes a transaction of its own nor is handed back when the turn ends before its moment is
# near. Who has such leads under way looks for pauses meanwhile.
MOMENTS_AHEAD = timedelta(seconds=0.3)
# How long a permit is left free for a suspect: until the run that has them all ends its turn, or the next one does. Who
# then finds the permit free is the suspect's.
SUSPECT_WAITS = timedelta(seconds=30)
# Requests arrive a few milliseconds sooner or later than they were sent: at the whole rate a second would now and then
# see one too many.
ROOM_FOR_JITTER = 0.97


@dataclass(frozen=True, slots=True)
class Budget:
    """What one account may be asked, over all workers together: a second, at once, and a day (UTC; None: any number).

    Of the first two only the share is used that LeadByte bears just now, see `worker.domain.manners`.
    """

    requests_per_second: float
    concurrency: int
    requests_per_day: int | None = None

    @property
    def is_slow(self) -> bool:
        """Whether moments are further apart than they are reserved ahead, even while LeadByte bears all it may."""
        return self.requests_per_second * MOMENTS_AHEAD.total_seconds() < 1


@dataclass(frozen=True, slots=True)
class Slots:
    """Moments to send at: the first, the time between two, how many at most; and permits to give out.

    `soon`: how many of the moments are so near that they may be reserved now. Fewer permits than none: more are given
    out than may be. `reach`: how far ahead the moments are looked for.
    """

    start: datetime
    gap: timedelta
    most: int
    permits: int
    soon: int
    reach: timedelta

    def find_next(self, taken: int, now: datetime) -> timedelta:
        """From now until there is another within reach, after so many of them; not positive: there is one."""
        return self.start + taken * self.gap - self.reach - now

    def bear_another(self, now: datetime) -> bool:
        """Whether there is one beyond those that polls may take: for what is to be sent whenever it comes."""
        return self.start <= now + PACE_HORIZON + min(self.gap, PACE_HORIZON)


# The row lock makes claims of one account take turns, which is what makes its budget hold over all workers. Not `for
# update`: who records leads, in however long a transaction, shares the account's key, and so do our counts of polls.
_LOCK_IF_FREE = text("""
    select id, next_slot_at, paused_until, pause_kind, rate_share, suspect_waits_until,
        case when requests_day = (cast(:now as timestamptz) at time zone 'UTC')::date then requests_today else 0
            end as requests_today,
        nextval('resolver.claims_id_seq') as claim
    from resolver.accounts where name = :name for no key update skip locked
""")
_IS_KNOWN = text("select exists (select from resolver.accounts where name = :name)")

TAKE_SLOTS = text("""
    update resolver.accounts
    set next_slot_at = :next_slot_at, paused_until = :paused_until,
        pause_kind = case when cast(:paused_until as timestamptz) is not null then pause_kind end,
        pause_reason = case when cast(:paused_until as timestamptz) is not null then pause_reason end,
        requests_day = (cast(:now as timestamptz) at time zone 'UTC')::date, requests_today = :requests_today
    where id = :account
""")


def lock_if_free(connection: Connection, account: str, now: datetime) -> Row[Any] | None:
    """The account's row, locked, without waiting for it; None if there is no such account.

    Raises:
        DatabaseContended: somebody else has it, for a moment or for as long as a person leaves a transaction open.
    """
    row = connection.execute(_LOCK_IF_FREE, {"name": account, "now": now}).one_or_none()
    if row is None and connection.execute(_IS_KNOWN, {"name": account}).scalar_one():
        raise DatabaseContended(f"somebody else has locked the account {account}; try again in a moment")
    return row


def lock_if_askable(connection: Connection, account: str, budget: Budget, now: datetime) -> Row[Any] | None:
    """As `lock_if_free`; None too where the account is paused, or its day's budget is used up: it is paused then."""
    row = lock_if_free(connection, account, now)
    if row is None or (row.paused_until is not None and row.paused_until > now):
        return None
    if budget.requests_per_day is not None and row.requests_today >= budget.requests_per_day:
        pause_until_tomorrow(connection, account, budget.requests_per_day, now)
        return None
    return row


def count_left_free(row: Row[tuple[object, ...]], now: datetime) -> int:
    """Permits that are not for a run of polling: one while a suspect waits for it; `row` is of `lock_if_free`."""
    until = row.suspect_waits_until
    # One further ahead is of a clock that has been set back since.
    return int(until is not None and now < until <= now + SUSPECT_WAITS)


def find_slots(row: Row[tuple[object, ...]], budget: Budget, held: int, now: datetime) -> Slots:
    """What the budget leaves, with `held` permits given out; `row` is of `lock_if_free`."""
    rate = budget.requests_per_second * row.rate_share
    gap = timedelta(microseconds=math.ceil(1e6 / rate))  # rounded to the nearest, it could be shorter than the budget's
    # Nobody reserves further ahead than this, at the slowest; a later slot is of a clock that has been set back since.
    furthest = now + PACE_HORIZON + timedelta(seconds=2 / (budget.requests_per_second * LEAST_SHARE))
    start = max(now, row.next_slot_at) if row.next_slot_at <= furthest else now
    reach = min(PACE_HORIZON, max(_LEAST_HORIZON, _MANY_ENOUGH * gap))
    most = _count_moments(now + reach - start, rate)
    if budget.requests_per_day is not None:
        most = min(most, budget.requests_per_day - row.requests_today)
    soon = most if budget.is_slow else min(most, _count_moments(now + MOMENTS_AHEAD - start, rate))
    concurrency = max(1, round(budget.concurrency * row.rate_share))
    # All that are free go to who comes first: one process can use them all, and the others persist meanwhile.
    return Slots(start, gap, most, concurrency - held, soon, reach)


def _count_moments(ahead: timedelta, rate: float) -> int:
    return int(ahead.total_seconds() * rate) + 1 if ahead >= timedelta(0) else 0


def pause_until_tomorrow(connection: Connection, account: str, most: int, now: datetime) -> None:
    """Ask nothing more today: `most` requests were all there were to be."""
    midnight = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)
    reason = f"today's budget of {most} requests is used up (UTC)"
    pause_account(connection, account, PauseKind.BUDGET, reason, midnight)
