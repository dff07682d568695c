"""Claiming leads that may have killed their workers: each alone, so that it harms no other.

Whoever polls their account has all of its permits, as long as there is enough to ask: a suspect queues up for one as
actions do (`worker.store.slots`), and is asked about beside that run. Neighbours: `worker.suspects` waits for the turn,
`worker.store.rescue` counts the lost leases.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.store.budget import Budget
from worker.store.bulk import fetch_rows
from worker.store.claims import CLAIM, DUE, PROBE_HOLDS, SUSPECT_CRASHES, Claim, read_claimed
from worker.store.leases import LEASE
from worker.store.slots import leave_queue, queue_up, take_slot

# By an index of suspects alone, whatever else is due.
_WITH_DUE_SUSPECTS = text(f"""
    select a.name from resolver.accounts a
    where a.name = any(:names) and (a.paused_until is null or a.paused_until <= :now) and a.id = any(array(
        select account_id from resolver.watches
        where crashes >= {SUSPECT_CRASHES} and claim_id is null and next_poll_at <= :now
    ))
""")
# In any order: they are few. In that of their moments, all that is due would be looked through for them.
_CLAIM_SUSPECT = text(CLAIM.format(f"array({DUE} and crashes >= {SUSPECT_CRASHES} limit 1 for update skip locked)"))


def list_with_due_suspects(connection: Connection, names: Collection[str], now: datetime) -> list[str]:
    """Of these accounts, those that are not paused and have due leads that may have killed their workers."""
    return list(connection.execute(_WITH_DUE_SUSPECTS, {"names": list(names), "now": now}).scalars())


def claim_suspect(
    connection: Connection, account: str, budget: Budget, now: datetime, ticket: int | None, permit_lease: timedelta
) -> tuple[int | None, Claim | None]:
    """Queue up for one suspect of the account, or claim it if it is our turn: (ticket, claim).

    No ticket: there is nothing to wait for. It is to be given back with `leave_queue`, unless there is a claim, whose
    `id` it is. In a transaction of its own, to be committed at once.

    Raises:
        DatabaseContended: somebody else has locked the account.
    """
    place, slot = queue_up(connection, account, budget, now, ticket, probed=PROBE_HOLDS.keys(), lease=permit_lease)
    if slot is None:
        return place, None
    values = {"account": slot.account_id, "claim": slot.id, "now": now, "until": now + LEASE}
    rows = fetch_rows(connection.execute(_CLAIM_SUSPECT, values))
    if not rows:
        leave_queue(connection, slot.id)
        return None, None
    take_slot(connection, slot, now)
    return place, Claim(slot.id, 1, (read_claimed(rows[0], slot.send_after),), slot.gap, slot.probe_until)
