"""Permits of an account's concurrency, as rows: a claim has them under a lease of their own, which is renewed.

The leads of a worker that was killed wait for the end of their own lease, since what it was told may still be written
down; its permits only until none of its requests can be under way any more. Neighbour: `worker.permits` renews them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.store.bulk import write_values
from worker.store.leases import LONGEST_LEASE

# Not in its last second: by the time this is committed, somebody else may have counted on it.
_RENEW = text("""
    update resolver.claims set lease_until = :until
    where id = any(cast(:claims as bigint[])) and lease_until > cast(:now as timestamptz) + interval '1 second'
    returning id
""")

# A statement of its own, since it must see the claim that the lock was waited for: a subselect of the locking statement
# would go by what was there before it waited.
_COUNT_PERMITS = text("""
    select coalesce(sum(permits), 0), coalesce(bool_or(run <> cast(:run as bigint)), false) from resolver.claims
    where account_id = :account and lease_until > :now and lease_until <= :until
""")
_TAKE = text("""
    update resolver.claims set permits = permits + :more where id = :claim and lease_until > :now returning id
""")


def count_permits(connection: Connection, account_id: int, now: datetime, run: int | None = None) -> tuple[int, bool]:
    """How many are given out, and whether another run of polling has the account, which the caller has locked."""
    values = {"account": account_id, "now": now, "until": now + LONGEST_LEASE, "run": run}
    held, is_anothers = connection.execute(_COUNT_PERMITS, values).one()
    return held, is_anothers


def take_permits(connection: Connection, claim: int, more: int, now: datetime) -> bool:
    """Give the claim so many more, which are free, since the caller has counted; False if it has lapsed."""
    taken = connection.execute(_TAKE, {"more": more, "claim": claim, "now": now})
    return taken.scalar_one_or_none() is not None


def renew_permits(connection: Connection, claims: Collection[int], now: datetime, lease: timedelta) -> set[int]:
    """Keep the permits of these claims for so long from now; returns the claims that still had them."""
    values = {"claims": write_values([*claims]), "now": now, "until": now + lease}
    return set(connection.execute(_RENEW, values).scalars())
