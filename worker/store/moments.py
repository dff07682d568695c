"""Moments to send at, for the leads of a claim that had none yet: reserved as soon as a request has room to leave.

Just in time, since only then the budget holds over all workers: requests that wait for the answers before them would
leave after their moment, together with those that others have reserved. Neighbour: `worker.store.claims`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from worker.store.accounts import PauseKind
from worker.store.claims import LOCK_ACCOUNT, TAKE_SLOTS, Budget, find_slots, pause_until_tomorrow


@dataclass(frozen=True, slots=True)
class Moments:
    """How long from now to hold each request: fewer than wanted, or none, where the budget's next are further ahead.

    `gap`: the time between two, however many others have reserved between them.

    `is_paused`: nothing more of the account may be sent. `is_used_up`: nothing more but what has its moment already,
    which the day's budget has counted.
    """

    send_after: tuple[timedelta, ...] = ()
    gap: timedelta = timedelta(0)
    is_paused: bool = False
    is_used_up: bool = False


def reserve_moments(connection: Connection, account: str, budget: Budget, now: datetime, wanted: int) -> Moments:
    """Reserve up to `wanted` moments of the account's budget; in a transaction of its own, to be committed at once."""
    row = connection.execute(LOCK_ACCOUNT, {"name": account, "now": now}).one_or_none()
    # A pause whose time is up is for a claim to probe.
    if row is not None and row.pause_kind == PauseKind.BUDGET:
        return Moments(is_used_up=True)
    if row is None or row.paused_until is not None:
        return Moments(is_paused=True)
    if budget.requests_per_day is not None and row.requests_today >= budget.requests_per_day:
        pause_until_tomorrow(connection, account, budget.requests_per_day, now)
        return Moments(is_used_up=True)
    slots = find_slots(row, budget, 0, now)
    count = min(wanted, slots.soon)
    if count > 0:
        taken = {"next_slot_at": slots.start + count * slots.gap, "requests_today": row.requests_today + count}
        connection.execute(TAKE_SLOTS, {**taken, "account": row.id, "now": now, "paused_until": None})
    return Moments(tuple(slots.start - now + n * slots.gap for n in range(count)), slots.gap)
