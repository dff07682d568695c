"""The sweep: leases of dead workers are taken back, replies left lying are found, old bookkeeping is forgotten."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from sqlalchemy import Engine

from worker.store.db import read_clock, transaction
from worker.store.rescue import forget_old_rows, rescue_expired_leases
from worker.store.ticks import has_unpersisted

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: leads whose lease had run out, those of them parked, and whether replies wait."""

    leads: int
    parked: int
    replies_wait: bool


def sweep(engine: Engine) -> Swept:
    """Make leads due again that a dead worker held; park those that seem to kill their workers."""
    with transaction(engine) as connection:
        now = read_clock(connection)
        rescued = rescue_expired_leases(connection, now)
        forget_old_rows(connection, now)
        replies_wait = has_unpersisted(connection)
    if rescued.leads:
        log.warning("leases_rescued", leads=rescued.leads, parked=rescued.parked)
    return Swept(rescued.leads, rescued.parked, replies_wait)
