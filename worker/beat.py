"""When beat ticks: every second of the monotonic clock.

Celery's own intervals go by the wall clock, so one set back by an hour would silence beat for an hour. There is only
this one entry; all other recurring duties are dated in Postgres (`worker.scheduling`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from celery.schedules import BaseSchedule, schedstate

INTERVAL_SECONDS = 1.0
# Celery's scheduler wakes up so much earlier than it is told, and then asks again and again until it is time: for one
# tick a second that was a hundredth of a core, for nothing.
_WOKEN_EARLY_SECONDS = 0.01


class EverySecond(BaseSchedule):
    """Due every INTERVAL_SECONDS, whatever the wall clock says."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._due_at = 0.0

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether to tick now, and in how many seconds to ask again."""
        del last_run_at  # by the wall clock
        now = self._monotonic()
        if now < self._due_at:
            return schedstate(is_due=False, next=self._due_at - now + _WOKEN_EARLY_SECONDS)
        self._due_at = now + INTERVAL_SECONDS
        return schedstate(is_due=True, next=INTERVAL_SECONDS)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Celery asks this only of schedules it prints."""
        del last_run_at
        return timedelta(seconds=max(0.0, self._due_at - self._monotonic()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EverySecond)

    def __hash__(self) -> int:
        return hash(EverySecond)
