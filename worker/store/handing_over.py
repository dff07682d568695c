"""Handing an account over: from now on, another run of polling may ask about its leads (`worker.store.claims`)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, text

from worker.store.budget import LOCK_ACCOUNT, Budget, find_slots
from worker.store.bulk import write_values

# A run that was held up sent its last requests after their moments: whoever comes must not send beside them.
_KEEP_DISTANCE = text("""
    update resolver.accounts set next_slot_at = greatest(next_slot_at, cast(:now as timestamptz) + :gap)
    where id = :account
""")
_HAND_OVER = text("update resolver.claims set run = null where id = any(cast(:claims as bigint[]))")


def hand_over(connection: Connection, account: str, budget: Budget, claims: Collection[int], now: datetime) -> None:
    """These claims of the account send nothing more: the last of their requests has left by now."""
    row = connection.execute(LOCK_ACCOUNT, {"name": account, "now": now}).one_or_none()
    if row is not None:
        gap = find_slots(row, budget, 0, now).gap
        connection.execute(_KEEP_DISTANCE, {"account": row.id, "now": now, "gap": gap})
        connection.execute(_HAND_OVER, {"claims": write_values([*claims])})
