"""Permits of an account's concurrency as rows: a claim holds them under a short lease of their own, which is renewed.

The leads of a worker that was killed wait for the end of their own lease, since what it was told may still be written
down. Its permits wait for nothing but proof that it is dead. Neighbour: `worker.permits` renews them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.store.bulk import write_values

# How long a worker that was killed keeps its permits from others. It outlasts a restart of Postgres, during which
# nobody can renew theirs.
PERMIT_LEASE = timedelta(seconds=15)

# Not in its last second: by the time this is committed, somebody else may have counted on it.
_RENEW = text("""
    update resolver.claims set lease_until = :until
    where id = any(cast(:claims as bigint[])) and lease_until > cast(:now as timestamptz) + interval '1 second'
    returning id
""")


def renew_permits(connection: Connection, claims: Collection[int], now: datetime) -> set[int]:
    """Keep the permits of these claims from now on; returns the claims that still had them."""
    values = {"claims": write_values([*claims]), "now": now, "until": now + PERMIT_LEASE}
    return set(connection.execute(_RENEW, values).scalars())
