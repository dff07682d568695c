"""Permits of an account's concurrency, as rows: a claim has them under a lease of their own, which is renewed.

The leads of a worker that was killed wait for the end of their own lease, since what it was told may still be written
down; its permits only until none of its requests can be under way any more. Neighbour: `worker.permits` renews them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.store.bulk import write_values

# Not in its last second: by the time this is committed, somebody else may have counted on it.
_RENEW = text("""
    update resolver.claims set lease_until = :until
    where id = any(cast(:claims as bigint[])) and lease_until > cast(:now as timestamptz) + interval '1 second'
    returning id
""")


def renew_permits(connection: Connection, claims: Collection[int], now: datetime, lease: timedelta) -> set[int]:
    """Keep the permits of these claims for so long from now; returns the claims that still had them."""
    values = {"claims": write_values([*claims]), "now": now, "until": now + lease}
    return set(connection.execute(_RENEW, values).scalars())
