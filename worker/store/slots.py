"""A place in an account's budget for one request that is no poll: a moment to send it at, and one permit.

The same pacer and permits as in `worker.store.claims`, so that the budget holds over polls and actions together. Under
a permanent backlog polls take every permit the moment it is free: so a request queues up with a claim of its own, which
counts at once, and goes when the polls before it have ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.store.accounts import PauseKind
from worker.store.claims import LEASE, PACE_HORIZON, PROBE_INTERVAL, Budget


@dataclass(frozen=True, slots=True)
class Slot:
    """Leave for one request. `id` is also the fencing token; `send_after` counts from now."""

    id: int
    account_id: int
    send_after: timedelta
    gap: timedelta
    is_probe: bool  # sent to see whether the account is throttled still


_LOCK = text("select id, next_slot_at, paused_until, pause_kind from resolver.accounts where name = :name for update")
_QUEUE_UP = text("""
    insert into resolver.claims (account_id, permits, lease_until) values (:account, 1, :until) returning id
""")
_KEEP_PLACE = text("update resolver.claims set lease_until = :until where id = :ticket returning id")
_COUNT_OTHERS = text("""
    select coalesce(sum(permits), 0) from resolver.claims
    where account_id = :account and id < :ticket and lease_until > :now and lease_until <= :furthest
""")
_TAKE = text("""
    update resolver.accounts
    set next_slot_at = :next_slot_at, paused_until = case when pause_kind is null then null else :probe_again_at end
    where id = :account
""")
_LEAVE = text("delete from resolver.claims where id = :ticket")


def queue_up(
    connection: Connection, account: str, budget: Budget, now: datetime, ticket: int | None
) -> tuple[int | None, Slot | None]:
    """Queue up for a request, or take the place waited for: (ticket, slot if it is our turn).

    No ticket: the account is paused, and nothing may be sent. The ticket is to be given back with `leave_queue`; the
    account stays locked until the transaction ends.
    """
    row = connection.execute(_LOCK, {"name": account}).one_or_none()
    if row is None or _is_paused(row.pause_kind, row.paused_until, now):
        return None, None
    values = {"account": row.id, "now": now, "until": now + LEASE, "furthest": now + 2 * LEASE, "ticket": ticket}
    kept = None if ticket is None else connection.execute(_KEEP_PLACE, values).scalar_one_or_none()
    place: int = kept if kept is not None else connection.execute(_QUEUE_UP, values).scalar_one()
    ahead = connection.execute(_COUNT_OTHERS, {**values, "ticket": place}).scalar_one()
    gap = timedelta(seconds=1 / budget.requests_per_second)
    # Never further ahead than polls may reserve by themselves: what lies beyond is of a clock that was set back.
    start = max(now, row.next_slot_at) if row.next_slot_at <= now + PACE_HORIZON + 2 * gap else now
    if ahead >= budget.concurrency or start > now + PACE_HORIZON + min(gap, PACE_HORIZON):
        return place, None
    return place, Slot(place, row.id, start - now, gap, is_probe=row.pause_kind is not None)


def take_slot(connection: Connection, slot: Slot, now: datetime) -> None:
    """Use it, in the transaction that found it: no other request will be sent at that moment."""
    values = {"account": slot.account_id, "next_slot_at": now + slot.send_after + slot.gap}
    connection.execute(_TAKE, {**values, "probe_again_at": now + PROBE_INTERVAL})


def _is_paused(kind: str | None, until: datetime | None, now: datetime) -> bool:
    """Once its time is up, one request may find out whether throttling is over; the other pauses end elsewhere."""
    return kind is not None and (kind != PauseKind.THROTTLED or until is None or until > now)


def leave_queue(connection: Connection, ticket: int) -> None:
    """Give the permit back."""
    connection.execute(_LEAVE, {"ticket": ticket})
