"""Moments to send at, for the leads of a claim that had none yet: reserved as soon as a request has room to leave.

Just in time, since only then the budget holds over all workers: requests that wait for the answers before them would
leave after their moment, together with those that others have reserved. Those of a slow budget come with their claim,
as far as there are permits: they wait for no others. Neighbour: `worker.store.budget`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from worker.store.accounts import PauseKind
from worker.store.budget import (
    TAKE_SLOTS,
    Budget,
    count_left_free,
    find_slots,
    lock_if_free,
    pause_until_tomorrow,
)
from worker.store.permits import count_permits, take_permits


@dataclass(frozen=True, slots=True)
class Moments:
    """`count` moments, the first so long from now: fewer than wanted, or none, where the next are further ahead.

    `gap`: the time between two, however many others have reserved between them. `permits`: so many more were free.

    `is_paused`: nothing more of the account may be sent. `is_used_up`: nothing more but what has its moment already,
    which the day's budget has counted.
    """

    first: timedelta = timedelta(0)
    count: int = 0
    gap: timedelta = timedelta(0)
    permits: int = 0
    is_paused: bool = False
    is_used_up: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """Moments for `requests` that have permits, and for up to `lacking` more with a permit each, for the claim.

    Before those, permits for up to `held_up` that have their moments.
    """

    requests: int
    lacking: int
    claim: int
    held_up: int = 0


def reserve_moments(connection: Connection, account: str, budget: Budget, now: datetime, wanted: Wanted) -> Moments:
    """Reserve moments of the account's budget; in a transaction of its own, to be committed at once.

    Raises:
        DatabaseContended: somebody else has locked the account.
    """
    row = lock_if_free(connection, account, now)
    # A pause whose time is up is for a claim to probe.
    if row is not None and row.pause_kind == PauseKind.BUDGET:
        return Moments(is_used_up=True)
    if row is None or row.paused_until is not None:
        return Moments(is_paused=True)
    if budget.requests_per_day is not None and row.requests_today >= budget.requests_per_day:
        pause_until_tomorrow(connection, account, budget.requests_per_day, now)
        return Moments(is_used_up=True)
    slots = find_slots(row, budget, count_left_free(row, now), now)
    more = wanted.held_up + max(0, min(wanted.lacking, slots.soon - wanted.requests))
    if more > 0:
        held, _ = count_permits(connection, row.id, now)
        more = min(more, slots.permits - held)
    if more <= 0 or not take_permits(connection, wanted.claim, more, now):
        more = 0
    count = min(wanted.requests + max(0, more - wanted.held_up), slots.soon)
    if count > 0:
        taken = {"next_slot_at": slots.start + count * slots.gap, "requests_today": row.requests_today + count}
        connection.execute(TAKE_SLOTS, {**taken, "account": row.id, "now": now, "paused_until": None})
    return Moments(slots.start - now, max(0, count), slots.gap, more)
