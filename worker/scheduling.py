"""The tick: looks into Postgres for what is due, and says how many hints of which kind are worth sending.

Two beats, none for a while, or a thousand ticks from a queue that stood still: duties are dated in Postgres, so each is
hinted at as often as it is needed and not as often as somebody ticks.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, Engine

from worker.errors import DatabaseUnavailable
from worker.store.accounts import count_due_leads, pause_unconfigured
from worker.store.action_looks import is_any_due
from worker.store.db import read_clock, transaction
from worker.store.pressure import read_pressure
from worker.store.rechecks import START_EVERY, Recheck, start_rechecks
from worker.store.ticks import (
    LEARN_EVERY,
    SWEEP_EVERY,
    TICK_EVERY,
    has_unpersisted,
    read_backlog,
    take_duty,
)

log = structlog.get_logger(__name__)

# How long one `polling.poll` goes on while there is due work. Short, so that a worker's processes come round to the
# other queues; long, so that Celery's share of a lead stays small.
SLICE_SECONDS = 5.0
LOOK_EVERY_SECONDS = 0.5
# Of an answer for its persistence, before polling gives way to it: where nobody persists, and where somebody does, but
# can't keep up. With the first alone LeadByte would be asked nothing as long as all persist.
LONGEST_WAIT = timedelta(seconds=1)
LONGEST_WAIT_ATTENDED = timedelta(seconds=3)
MOST_POLL_HINTS = 8  # a tick; who takes one up goes on by itself while there is due work


@dataclass(frozen=True, slots=True)
class Hints:
    """How many messages of each kind a tick calls for."""

    polls: int = 0
    persist: bool = False
    sweep: bool = False
    actions: bool = False
    learn: bool = False
    due: int = 0


@dataclass(frozen=True, slots=True)
class Rechecks:
    """How final leads are looked at again, and what each account may be asked a second, all day long."""

    how: Recheck
    requests_per_second: Mapping[str, float]


def plan_hints(engine: Engine, configured: Collection[str], batch_size: int, rechecks: Rechecks | None = None) -> Hints:
    """Look at what is due now, re-checks included if they are on; no hints at all if another tick has just looked."""
    with transaction(engine) as connection:
        now = read_clock(connection)
        if not take_duty(connection, "tick", TICK_EVERY, now):
            return Hints()
        _match_pauses(connection, configured)
        due = count_due_leads(connection, now, most=MOST_POLL_HINTS * batch_size)
        if rechecks is not None:
            _start_rechecks(connection, rechecks, due, now)
        return Hints(
            polls=_count_polls(due),
            persist=has_unpersisted(connection),
            sweep=take_duty(connection, "sweep", SWEEP_EVERY, now),
            actions=is_any_due(connection, now),
            learn=take_duty(connection, "learn", LEARN_EVERY, now),
            due=sum(due.values()),
        )


def _start_rechecks(connection: Connection, rechecks: Rechecks, due: Mapping[str, int], now: datetime) -> None:
    """The share of each account's budget until the next turn; none where open leads need it, or it is paused."""
    for account, requests_per_second in rechecks.requests_per_second.items():
        share = rechecks.how.share * requests_per_second
        interval = max(START_EVERY, timedelta(seconds=1 / share))  # a small share is one request now and then
        is_busy = due.get(account, 0) > requests_per_second * START_EVERY.total_seconds()
        if account not in due or is_busy or not take_duty(connection, f"recheck {account}", interval, now):
            continue
        # One at least: where there are no other requests, it is their answers that end the strain.
        borne = read_pressure(connection, account).pressure.share
        most = max(1, int(share * interval.total_seconds() * borne))
        if started := start_rechecks(connection, account, most, interval / most, rechecks.how.every):
            log.info("rechecks_started", account=account, leads=started)


def _count_polls(due: Mapping[str, int]) -> int:
    """One hint an account: who takes it up polls all accounts, as far as others don't have their permits already."""
    return min(sum(count > 0 for count in due.values()), MOST_POLL_HINTS)


def _match_pauses(connection: Connection, configured: Collection[str]) -> None:
    paused, resumed = pause_unconfigured(connection, configured)
    for account in paused:
        log.warning("account_paused", account=account, kind="settings", reason="no API key is configured for it")
    for account in resumed:
        log.info("account_resumed", account=account)


class Seldom:
    """Says yes when it is called, and then not again before so many seconds are over, or it is put off for longer."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._at = seconds, 0.0

    def __call__(self) -> bool:
        """Whether the last yes was long enough ago."""
        now = time.monotonic()
        if now < self._at:
            return False
        self._at = now + self._seconds
        return True

    def put_off(self, seconds: float) -> None:
        """Say yes no more for so long from now."""
        self._at = time.monotonic() + seconds


class PollTurn:
    """One turn of polling in one process: how long it may go on, and when a hint to others is worth sending."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._until = time.monotonic() + SLICE_SECONDS
        self._look_at = time.monotonic() + LOOK_EVERY_SECONDS
        # One persists all that waits, however many batches that is; one goes on with all accounts, as they become free.
        self.may_hint_at_persisting, self.may_hint_at_going_on = Seldom(LOOK_EVERY_SECONDS), Seldom(LOOK_EVERY_SECONDS)

    def may_go_on(self) -> bool:
        """False once the slice is over, or answers have waited for a process to persist them: all may be polling."""
        now = time.monotonic()
        if self._look_at <= now < self._until:
            self._look_at = now + LOOK_EVERY_SECONDS
            self._until = now if self._must_give_way() else self._until
        return now < self._until

    def _must_give_way(self) -> bool:
        try:
            with transaction(self._engine) as connection:
                backlog = read_backlog(connection)
        except DatabaseUnavailable:
            return True  # nothing can be claimed either; what is under way is settled when Postgres is back
        return backlog.waited > (LONGEST_WAIT_ATTENDED if backlog.is_attempted else LONGEST_WAIT)

    def leaves_work(self) -> bool:
        """Whether it has ended before the work: the next turn can go on with what is due at once."""
        if time.monotonic() < self._until:
            return False
        with transaction(self._engine) as connection:
            return any(count_due_leads(connection, read_clock(connection), most=1).values())
