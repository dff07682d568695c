"""The sweep: leases of dead workers are taken back, replies left lying are found, what is old is forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Engine

from worker.store.db import read_clock, transaction
from worker.store.forgetting import forget_old_replies
from worker.store.rechecks import Recheck, enrol_late, forget_rechecks
from worker.store.rescue import forget_old_rows, rescue_expired_leases
from worker.store.ticks import has_unpersisted

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: leads whose lease had run out, those of them parked, and whether replies wait."""

    leads: int
    parked: int
    replies_wait: bool


def sweep(engine: Engine, recheck: Recheck | None = None, keep_replies: timedelta | None = None) -> Swept:
    """Make leads due again that a dead worker held; park those that seem to kill their workers.

    Then, a page each: enrol leads for re-checks that became final before these were switched on (None: off), and forget
    replies of closed leads that are older than `keep_replies` (None: none).
    """
    with transaction(engine) as connection:
        now = read_clock(connection)
        rescued = rescue_expired_leases(connection, now)
        forget_old_rows(connection, now)
        replies_wait = has_unpersisted(connection)
    if rescued.leads:
        log.warning("leases_rescued", leads=rescued.leads, parked=rescued.parked)
    _match_rechecks(engine, recheck)
    if keep_replies is not None:
        _forget_replies(engine, keep_replies)
    return Swept(rescued.leads, rescued.parked, replies_wait)


def _match_rechecks(engine: Engine, recheck: Recheck | None) -> None:
    with transaction(engine) as connection:
        if recheck is None:
            forget_rechecks(connection)
        else:
            enrol_late(connection, recheck, read_clock(connection))


def _forget_replies(engine: Engine, keep: timedelta) -> None:
    with transaction(engine) as connection:
        now = read_clock(connection)
        forgotten = forget_old_replies(connection, now - keep, now)
    if forgotten:
        log.info("replies_forgotten", replies=forgotten)
