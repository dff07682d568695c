"""When the requests that wait may leave: moments of an account's budget, asked of Postgres just in time.

Neighbours: `worker.store.moments` reserves them; `worker.polling` has the requests, `worker.asking` knows how many.
"""

from __future__ import annotations

import time

from sqlalchemy import Engine

from worker.accounts import Account
from worker.errors import DatabaseContended, DatabaseUnavailable
from worker.store.budget import MOMENTS_AHEAD, ROOM_FOR_JITTER, Budget
from worker.store.db import read_clock, transaction
from worker.store.moments import Moments, Wanted, reserve_moments

# How soon to ask again: a reservation costs the same for one as for many, and a moment must not pass unused.
RESERVE_AGAIN_SECONDS = 0.05
CONTENDED_AGAIN_SECONDS = 0.1  # where somebody else has locked the account: mostly he is done in a moment
AFTER_A_FAULT_SECONDS = 1.0  # and at the latest, since a budget may change


class Reserver:
    """Asks for moments on behalf of one process, not too often."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._again_at: dict[str, float] = {}

    def may_reserve(self, account: Account) -> bool:
        """Whether the last time was long enough ago."""
        return time.monotonic() >= self._again_at.get(account.name, 0.0)

    def reserve(self, account: Account, wanted: Wanted) -> tuple[list[float], Moments]:
        """Moments of `time.monotonic()`, and what else was found."""
        try:
            with transaction(self._engine) as connection:
                now, read_at = read_clock(connection), time.monotonic()
                reserved = reserve_moments(connection, account.name, find_budget(account), now, wanted)
        except DatabaseUnavailable as error:
            # What is under way is still to be settled, and that is tried again.
            again = CONTENDED_AGAIN_SECONDS if isinstance(error, DatabaseContended) else AFTER_A_FAULT_SECONDS
            self._again_at[account.name] = time.monotonic() + again
            return [], Moments()
        first, gap = read_at + reserved.first.total_seconds(), reserved.gap.total_seconds()
        next_at = first + reserved.count * gap - MOMENTS_AHEAD.total_seconds()  # when one more is near enough
        done_at = time.monotonic()
        next_at = min(max(next_at, done_at + RESERVE_AGAIN_SECONDS), done_at + AFTER_A_FAULT_SECONDS)
        self._again_at[account.name] = next_at
        return [first + n * gap for n in range(reserved.count)], reserved


def find_budget(account: Account) -> Budget:
    """What the account may be asked, less what keeps it safe."""
    rate = account.requests_per_second * ROOM_FOR_JITTER
    return Budget(rate, account.concurrency, account.requests_per_day)
