"""The tick: looks into Postgres for what is due, and says how many hints of which kind are worth sending.

Two beats, none for a while, or a thousand ticks from a queue that stood still: duties are dated in Postgres, so each is
hinted at as often as it is needed and not as often as somebody ticks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, Engine

from worker.store.accounts import count_due_leads, pause_unconfigured
from worker.store.db import read_clock, transaction
from worker.store.ticks import SWEEP_EVERY, TICK_EVERY, count_live_claims, has_unpersisted, take_duty

log = structlog.get_logger(__name__)

MOST_POLL_HINTS = 8  # a tick; a worker takes up the next batch by itself while there is due work


@dataclass(frozen=True, slots=True)
class Hints:
    """How many messages of each kind a tick calls for."""

    polls: int = 0
    persist: bool = False
    sweep: bool = False
    due: int = 0


def plan_hints(engine: Engine, configured: Collection[str], batch_size: int) -> Hints:
    """Look at what is due now; no hints at all if another tick has just looked."""
    with transaction(engine) as connection:
        now = read_clock(connection)
        if not take_duty(connection, "tick", TICK_EVERY, now):
            return Hints()
        _match_pauses(connection, configured)
        due = count_due_leads(connection, now, most=MOST_POLL_HINTS * batch_size)
        return Hints(
            polls=_count_polls(due, count_live_claims(connection, now), batch_size),
            persist=has_unpersisted(connection),
            sweep=take_duty(connection, "sweep", SWEEP_EVERY, now),
            due=sum(due.values()),
        )


def _count_polls(due: Mapping[str, int], at_work: Mapping[str, int], batch_size: int) -> int:
    """One hint a batch, less those at work, who go on by themselves; but one at least, since they may be dead."""
    wanted = (max(1, -(-count // batch_size) - at_work.get(account, 0)) for account, count in due.items() if count)
    return min(sum(wanted), MOST_POLL_HINTS)


def _match_pauses(connection: Connection, configured: Collection[str]) -> None:
    paused, resumed = pause_unconfigured(connection, configured)
    for account in paused:
        log.warning("account_paused", account=account, kind="settings", reason="no API key is configured for it")
    for account in resumed:
        log.info("account_resumed", account=account)
