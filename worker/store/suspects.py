"""Claiming leads that may have killed their workers: each alone, so that it harms no other.

Whoever polls their account has all of its permits, as long as there is enough to ask. Where a suspect finds none, the
account's other leads leave one free for a while, and whoever ends a turn then finds it. Neighbours: `worker.suspects`,
`worker.store.budget` (`count_left_free`), `worker.store.rescue` counts the lost leases.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.store.budget import SUSPECT_WAITS, TAKE_SLOTS, Budget, find_slots, lock_if_askable
from worker.store.bulk import fetch_rows
from worker.store.claims import CLAIM, DUE, OPEN_CLAIM, PROBE_HOLDS, SUSPECT_CRASHES, Claim, read_claimed
from worker.store.leases import LEASE
from worker.store.permits import count_permits

# By an index of suspects alone, whatever else is due. And where one has waited: it may be gone, and its permit with it.
_WITH_DUE_SUSPECTS = text(f"""
    select a.name from resolver.accounts a
    where a.name = any(:names) and (a.paused_until is null or a.paused_until <= :now) and (
        a.suspect_waits_until > :now or a.id = any(array(
            select account_id from resolver.watches
            where crashes >= {SUSPECT_CRASHES} and claim_id is null and next_poll_at <= :now
        ))
    )
""")
# In any order: they are few. In that of their moments, all that is due would be looked through for them.
_CLAIM_SUSPECT = text(CLAIM.format(f"array({DUE} and crashes >= {SUSPECT_CRASHES} limit 1 for update skip locked)"))
_WAIT = text("update resolver.accounts set suspect_waits_until = :until where id = :account")


def list_with_due_suspects(connection: Connection, names: Collection[str], now: datetime) -> list[str]:
    """Of these accounts, those that are not paused and have due leads that may have killed their workers."""
    return list(connection.execute(_WITH_DUE_SUSPECTS, {"names": list(names), "now": now}).scalars())


def claim_suspect(
    connection: Connection, account: str, budget: Budget, now: datetime, permit_lease: timedelta
) -> Claim | None:
    """Claim one suspect of the account, in a transaction of its own, to be committed at once; None: there is none now.

    Where no permit is free, one is left free for it from now on.

    Raises:
        DatabaseContended: somebody else has locked the account.
    """
    row = lock_if_askable(connection, account, budget, now)
    if row is None:
        return None
    held, _ = count_permits(connection, row.id, now)
    slots = find_slots(row, budget, held, now)
    values = {"account": row.id, "claim": row.claim, "now": now, "until": now + LEASE}
    if slots.permits <= 0:
        connection.execute(_WAIT, {"account": row.id, "until": now + SUSPECT_WAITS})
        return None
    if not slots.bear_another(now):
        return None
    rows = fetch_rows(connection.execute(_CLAIM_SUSPECT, values))
    connection.execute(_WAIT, {"account": row.id, "until": None})
    if not rows:
        return None
    connection.execute(OPEN_CLAIM, {**values, "permits": 1, "until": now + permit_lease, "run": None})
    hold = PROBE_HOLDS.get(row.pause_kind)
    probe_until = now + hold if hold is not None else None
    taken = {"next_slot_at": slots.start + slots.gap, "requests_today": row.requests_today + 1}
    connection.execute(TAKE_SLOTS, {**taken, "account": row.id, "now": now, "paused_until": probe_until})
    lead = read_claimed(rows[0], slots.start - now)
    return Claim(row.claim, 1, (lead,), slots.gap, probe_until, borne=held + slots.permits)
