"""A place in an account's budget for one request that is no poll: a moment to send it at, and one permit.

The same pacer and permits as for polls, so that the budget holds over polls and actions together. Under
a permanent backlog polls take every permit the moment it is free: so a request queues up with a claim of its own, which
counts at once, and goes when the polls before it have ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.store.accounts import PauseKind
from worker.store.budget import TAKE_SLOTS, Budget, find_slots, lock_if_askable
from worker.store.claims import PROBE_HOLDS
from worker.store.leases import LEASE, LONGEST_LEASE

# Pauses that one request may probe, and its answer end. A refused key is for polling to probe: the permission differs.
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
# Not one that has lapsed: those that queued up later may be under way.
_KEEP_PLACE = text("""
    update resolver.claims set lease_until = :until where id = :ticket and lease_until > :now returning id
""")
_COUNT_AHEAD = text("""
    select coalesce(sum(permits), 0) from resolver.claims
    where account_id = :account and id < :ticket and lease_until > :now and lease_until <= :furthest
""")
_LEAVE = text("delete from resolver.claims where id = :ticket")


def queue_up(
    connection: Connection, account: str, budget: Budget, now: datetime, ticket: int | None
) -> tuple[int | None, Slot | None]:
    """Queue up for a request, or take the place waited for: (ticket, slot if it is our turn).

    No ticket: the account is paused, nothing may be sent, and the place is given up. Else the ticket is to be given
    back with `leave_queue`; the account stays locked until the transaction ends.

    Raises:
        DatabaseContended: somebody else has locked the account; the place is kept.
    """
    row = lock_if_askable(connection, account, budget, now)
    if row is None or row.pause_kind == PauseKind.KEY:
        if ticket is not None:
            leave_queue(connection, ticket)
        return None, None
    values = {"account": row.id, "now": now, "until": now + LEASE, "furthest": now + LONGEST_LEASE, "ticket": ticket}
    kept = None if ticket is None else connection.execute(_KEEP_PLACE, values).scalar_one_or_none()
    place: int = kept if kept is not None else connection.execute(_QUEUE_UP, values).scalar_one()
    ahead = connection.execute(_COUNT_AHEAD, {**values, "ticket": place}).scalar_one()
    slots = find_slots(row, budget, ahead, now)
    if slots.permits <= 0 or not slots.bear_another(now):
        return place, None
    probe_until = now + PROBE_HOLDS[row.pause_kind] if row.pause_kind in PROBED else None
    return place, Slot(place, row.id, slots.start - now, slots.gap, row.requests_today, probe_until)


def take_slot(connection: Connection, slot: Slot, now: datetime) -> None:
    """Use it, in the transaction that found it: no other request will be sent at that moment."""
    next_slot_at = now + slot.send_after + slot.gap
    values = {"account": slot.account_id, "now": now, "next_slot_at": next_slot_at, "paused_until": slot.probe_until}
    connection.execute(TAKE_SLOTS, {**values, "requests_today": slot.requests_today + 1})


def leave_queue(connection: Connection, ticket: int) -> None:
    """Give the permit back."""
    connection.execute(_LEAVE, {"ticket": ticket})
