"""Permits stay ours for as long as we live: a thread renews their lease every few seconds, whatever polling waits for.

Who could not renew them sends nothing more under them, early enough that its requests have ended when others get them.
Neighbours: `worker.store.permits` has the rows, `worker.claiming` holds and asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from threading import Event, Lock, Thread

import structlog
from sqlalchemy import Engine

from worker.clock import read_sleepless
from worker.errors import LeadResolverError
from worker.store.db import read_clock, transaction
from worker.store.permits import renew_permits

log = structlog.get_logger(__name__)

RENEW_EVERY_SECONDS = 4.0
AFTER_A_FAULT_SECONDS = 1.0
# How long requests are sent under permits that could not be renewed: it outlasts a restart of Postgres.
UNRENEWED_SECONDS = 12.0
# What was let out when we looked may leave a little later: as late as `worker.leadbyte.pace` lets it, and no more.
LAST_TO_LEAVE_SECONDS = 3.0
_BOUND = timedelta(seconds=5)  # of one try, so that there are several


class PermitKeeper:
    """Renews the permits of one run of polling, for `lease` each time; its requests take `timeout_seconds` at most."""

    def __init__(self, engine: Engine, timeout_seconds: float) -> None:
        self.lease = timedelta(seconds=UNRENEWED_SECONDS + LAST_TO_LEAVE_SECONDS + timeout_seconds)
        self._engine = engine
        self._lock = Lock()  # over the next one
        self._ours_at: dict[int, float] = {}  # by claim, when it was last known to be; `worker.clock`
        self._is_over = Event()
        self._thread: Thread | None = None

    def hold(self, claim: int, since: float) -> None:
        """Renew this claim's permits from now on; they were given at `since` (`worker.clock`), or a little later."""
        with self._lock:
            self._ours_at[claim] = since
        if self._thread is None:
            self._thread = Thread(target=self._renew_until_over, name="permits", daemon=True)
            self._thread.start()

    def drop(self, claim: int) -> None:
        """Its permits are given back."""
        with self._lock:
            self._ours_at.pop(claim, None)

    def have_lapsed(self, claims: Iterable[int]) -> bool:
        """Whether nothing more may be sent under the permits of these claims together."""
        oldest = read_sleepless() - UNRENEWED_SECONDS
        with self._lock:
            return any(self._ours_at.get(claim, -math.inf) < oldest for claim in claims)

    def close(self) -> None:
        """Renew nothing more."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def _renew_until_over(self) -> None:
        pause = RENEW_EVERY_SECONDS
        while not self._is_over.wait(pause):
            pause = RENEW_EVERY_SECONDS if self._renew() else AFTER_A_FAULT_SECONDS

    def _renew(self) -> bool:
        with self._lock:
            claims = list(self._ours_at)
        if not claims:
            return True
        began_at = read_sleepless()
        try:
            with transaction(self._engine, _BOUND) as connection:
                kept = renew_permits(connection, claims, read_clock(connection), self.lease)
        except LeadResolverError as error:
            log.warning("permits_not_renewed", error=str(error))
            return False
        with self._lock:
            for claim in self._ours_at.keys() & claims:
                self._ours_at[claim] = began_at if claim in kept else -math.inf
        return True
