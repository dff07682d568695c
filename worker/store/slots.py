"""A place in an account's budget for one request beside a run of polling: a moment to send it at, and one permit.

The same pacer and permits as for polls, so that the budget holds over polls and actions together. Under
a permanent backlog polls take every permit the moment it is free: so a request queues up with a claim of its own, which
counts at once, and goes when the polls before it have ended. Neighbour: `worker.queueing` waits.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.store.accounts import PauseKind
from worker.store.budget import TAKE_SLOTS, Budget, find_slots, lock_if_free, pause_until_tomorrow
from worker.store.claims import PROBE_HOLDS
from worker.store.leases import LEASE, LONGEST_LEASE

# Pauses that an action may probe, and its answer end. A refused key is for polling to probe: the permission differs.
PROBED = (PauseKind.THROTTLED, PauseKind.TROUBLE)


@dataclass(frozen=True, slots=True)
class Slot:
    """Leave for one request. `id` is also the fencing token; `send_after` counts from now.

    `probe_until` set: the request is a probe of a pause, which has been prolonged until then.
    """

    id: int
    account_id: int
    send_after: timedelta
    gap: timedelta
    requests_today: int
    probe_until: datetime | None


_QUEUE_UP = text("""
    insert into resolver.claims (account_id, permits, lease_until) values (:account, 1, :until) returning id
""")
_KEEP_PLACE = text("update resolver.claims set lease_until = :until where id = :ticket returning id")
_COUNT_AHEAD = text("""
    select coalesce(sum(permits), 0) from resolver.claims
    where account_id = :account and id < :ticket and lease_until > :now and lease_until <= :furthest
""")
_LEAVE = text("delete from resolver.claims where id = :ticket")


def queue_up(
    connection: Connection,
    account: str,
    budget: Budget,
    now: datetime,
    ticket: int | None,
    *,
    probed: Collection[str | None] = PROBED,
    lease: timedelta = LEASE,
) -> tuple[int | None, Slot | None]:
    """Queue up for a request, or take the place waited for: (ticket, slot if it is our turn).

    No ticket: the account is paused, and nothing may be sent. The ticket is to be given back with `leave_queue`; the
    account stays locked until the transaction ends. `probed`: pauses that the request may probe when their time is up;
    `lease`: for how long the permit is its own, and the place, unless it asks again.

    Raises:
        DatabaseContended: somebody else has locked the account.
    """
    row = lock_if_free(connection, account, now)
    if row is None or (row.paused_until is not None and row.paused_until > now):
        return None, None
    hold = PROBE_HOLDS.get(row.pause_kind)
    if hold is not None and row.pause_kind not in probed:
        return None, None
    if budget.requests_per_day is not None and row.requests_today >= budget.requests_per_day:
        pause_until_tomorrow(connection, account, budget.requests_per_day, now)
        return None, None
    values = {"account": row.id, "now": now, "until": now + lease, "furthest": now + LONGEST_LEASE, "ticket": ticket}
    kept = None if ticket is None else connection.execute(_KEEP_PLACE, values).scalar_one_or_none()
    place: int = kept if kept is not None else connection.execute(_QUEUE_UP, values).scalar_one()
    ahead = connection.execute(_COUNT_AHEAD, {**values, "ticket": place}).scalar_one()
    slots = find_slots(row, budget, ahead, now)
    if slots.permits <= 0 or not slots.bear_another(now):
        return place, None
    probe_until = now + hold if hold is not None else None
    return place, Slot(place, row.id, slots.start - now, slots.gap, row.requests_today, probe_until)


def take_slot(connection: Connection, slot: Slot, now: datetime) -> None:
    """Use it, in the transaction that found it: no other request will be sent at that moment."""
    next_slot_at = now + slot.send_after + slot.gap
    values = {"account": slot.account_id, "now": now, "next_slot_at": next_slot_at, "paused_until": slot.probe_until}
    connection.execute(TAKE_SLOTS, {**values, "requests_today": slot.requests_today + 1})


def leave_queue(connection: Connection, ticket: int) -> None:
    """Give the permit back."""
    connection.execute(_LEAVE, {"ticket": ticket})
