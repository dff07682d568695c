"""Handing an account over: from now on, another run of polling may ask about its leads (`worker.store.claims`)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.errors import DatabaseContended
from worker.store.bulk import write_values

_KEEP_DISTANCE = text("""
    update resolver.accounts set next_slot_at = greatest(next_slot_at, cast(:now as timestamptz) + :wait)
    where id = (select id from resolver.accounts where name = :account for no key update skip locked)
""")
_HAND_OVER = text("update resolver.claims set run = null where id = any(cast(:claims as bigint[]))")


def keep_distance(connection: Connection, account: str, now: datetime, wait: timedelta) -> None:
    """Nothing of the account may leave before so long from now: the last request left after its moment.

    Raises:
        DatabaseContended: somebody else has locked the account.
    """
    if not connection.execute(_KEEP_DISTANCE, {"account": account, "now": now, "wait": wait}).rowcount:
        raise DatabaseContended(f"somebody else has locked the account {account}; try again in a moment")


def hand_over(connection: Connection, claims: Collection[int]) -> None:
    """These claims send nothing more: the last of their requests has left."""
    connection.execute(_HAND_OVER, {"claims": write_values([*claims])})
