"""Which accounts something can be claimed of: of hundreds few have work at a time, and each claim is a transaction."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.store.budget import PACE_HORIZON
from worker.store.leases import LONGEST_LEASE

_FAR = timedelta(seconds=10)
# An account whose next moment is further ahead than a claim reaches has none now. Much further ahead, it is for a claim
# to look at: it is of a very small budget, or of a clock that has been set back since.
# `select true … limit 1`: an `exists` becomes a join, which reads all that is due where the statistics are old.
_WITH_DUE_LEADS = text("""
    select a.name, exists (
        select from resolver.claims c
        where c.account_id = a.id and c.run <> :run and c.lease_until > :now and c.lease_until <= :until
    ) as is_anothers
    from resolver.accounts a
    where a.name = any(:names) and (a.paused_until is null or a.paused_until <= :now)
        and (a.next_slot_at <= :soon or a.next_slot_at > :far) and (
            select true from resolver.watches w
            where w.account_id = a.id and w.claim_id is null and w.next_poll_at <= :now limit 1
        )
""")


def list_with_due_leads(connection: Connection, names: Collection[str], now: datetime, run: int) -> dict[str, bool]:
    """Of these accounts, those with due leads that are not paused; for each, whether another run of polling has it."""
    moments = {"now": now, "soon": now + PACE_HORIZON, "far": now + _FAR, "until": now + LONGEST_LEASE}
    rows = connection.execute(_WITH_DUE_LEADS, {**moments, "names": list(names), "run": run})
    return {row.name: row.is_anothers for row in rows}
