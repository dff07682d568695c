"""The sweep: leases of dead workers are taken back, old bookkeeping is forgotten."""

from __future__ import annotations

import structlog
from sqlalchemy import Engine

from worker.store.db import read_clock, transaction
from worker.store.rescue import Rescued, forget_old_rows, rescue_expired_leases

log = structlog.get_logger(__name__)


def sweep(engine: Engine) -> Rescued:
    """Make leads due again that a dead worker held; park those that seem to kill their workers."""
    with transaction(engine) as connection:
        now = read_clock(connection)
        rescued = rescue_expired_leases(connection, now)
        forget_old_rows(connection, now)
    if rescued.leads:
        log.warning("leases_rescued", leads=rescued.leads, parked=rescued.parked)
    return rescued
