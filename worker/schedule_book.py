"""Which schedule a lead is polled by: its campaign's, else its account's, else the default; the same for all workers.

`worker.learning` computes them. Here they are read again now and then, so that choosing one costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

import structlog
from sqlalchemy import Engine

from worker.domain.backoff import DEFAULT_SCHEDULE, Schedule
from worker.domain.learning.schedule import LearnedSchedule, make_ages
from worker.errors import LeadResolverError
from worker.store.db import transaction
from worker.store.schedules import WHOLE_ACCOUNT, StoredSchedule, read_schedules

log = structlog.get_logger(__name__)

FEWEST_LEADS = 50.0  # learned from fewer, a schedule would be worse than the default as often as better
READ_EVERY_SECONDS = 30.0
# One lead in so many goes by the default schedule for good: it is dense in the first minute, so that a change there is
# noticed even where the learned schedule has stopped looking.
EXPLORED = 50


class ChooseSchedule(Protocol):
    """How a lead's schedule is found: by its account, its campaign where that is told, and its row's id."""

    def __call__(self, account: str, campaign_id: str | None = None, lead_id: int = 1) -> Schedule:
        """The schedule this lead is polled by."""


class ScheduleBook:
    """The schedules in force, as this process last read them."""

    def __init__(self, engine: Engine, longest_gap: timedelta, *, is_used: bool = True) -> None:
        self._engine = engine
        self._longest_gap = longest_gap
        self._is_used = is_used
        self._read_at: float | None = None
        self._schedules: Mapping[tuple[str, str], Schedule] = {}

    def choose_schedule(self, account: str, campaign_id: str | None = None, lead_id: int = 1) -> Schedule:
        """The schedule of this lead; the default where nothing is learned yet, or learning is switched off."""
        if not self._is_used or lead_id % EXPLORED == 0:
            return DEFAULT_SCHEDULE
        self._read_now_and_then()
        of_campaign = self._schedules.get((account, campaign_id)) if campaign_id else None
        return of_campaign or self._schedules.get((account, WHOLE_ACCOUNT), DEFAULT_SCHEDULE)

    def _read_now_and_then(self) -> None:
        now = time.monotonic()
        if self._read_at is not None and now - self._read_at < READ_EVERY_SECONDS:
            return
        self._read_at = now
        try:
            with transaction(self._engine) as connection:
                stored = read_schedules(connection, FEWEST_LEADS)
        except LeadResolverError as error:
            log.warning("schedules_not_read", error=str(error))  # the ones at hand will do until then
            return
        self._schedules = {(each.account, each.campaign_id): self._make(each) for each in stored}

    def _make(self, stored: StoredSchedule) -> LearnedSchedule:
        return LearnedSchedule(make_ages(stored.ages), self._longest_gap, name_schedule(stored), stored.version)


def name_schedule(stored: StoredSchedule) -> str:
    """As people read it: "schedule 17 of campaign 6", "schedule 4 of account acme"."""
    whose = f"account {stored.account}" if stored.campaign_id == WHOLE_ACCOUNT else f"campaign {stored.campaign_id}"
    return f"schedule {stored.version} of {whose}"
