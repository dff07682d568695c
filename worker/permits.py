"""Permits stay ours for as long as we live: their lease is renewed every few seconds, beside polling.

A process that can't renew them (it was stopped, or Postgres is away) has to take it that others have them: it sends
nothing more, and asks for new ones. Neighbours: `worker.store.permits` has the rows, `worker.polling` calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import Engine

from worker.errors import DatabaseUnavailable
from worker.lane import Lane
from worker.store.db import read_clock, transaction
from worker.store.permits import PERMIT_LEASE, renew_permits

# Three tries before the lease has run out.
RENEW_EVERY_SECONDS = 4.0
AFTER_A_FAULT_SECONDS = 1.0


class PermitKeeper:
    """Renews the permits of one run of polling."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._renewed_at = time.monotonic()
        self._again_at = self._renewed_at + RENEW_EVERY_SECONDS

    def find_lapsed(self, lanes: Iterable[Lane]) -> list[Lane]:
        """Renew all permits if it is time to; the lanes with permits that are not ours any more."""
        now = time.monotonic()
        if now < self._again_at:
            return []
        lanes = list(lanes)
        try:
            kept = self._renew({claim for lane in lanes for claim in lane.batches})
        except DatabaseUnavailable:
            self._again_at = time.monotonic() + AFTER_A_FAULT_SECONDS
            return [lane for lane in lanes if self._has_outlived_its_permits(lane)]
        self._renewed_at, self._again_at = now, now + RENEW_EVERY_SECONDS
        return [lane for lane in lanes if not lane.batches.keys() <= kept]

    def _renew(self, claims: set[int]) -> set[int]:
        if not claims:
            return set()
        with transaction(self._engine) as connection:
            return renew_permits(connection, claims, read_clock(connection))

    def _has_outlived_its_permits(self, lane: Lane) -> bool:
        oldest = min(batch.read_at for batch in lane.batches.values())
        return time.monotonic() - max(oldest, self._renewed_at) > PERMIT_LEASE.total_seconds()
