"""Trying again while Postgres is away: for work whose fruits would be lost, and which is safe to do twice.

Used by `worker.settling_thread` (answers already fetched), `worker.results` (replies already marked as attempted) and
`worker.operations` (a page of a long redrive).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from worker.errors import DatabaseUnavailable

# Enough for a restart of Postgres; well within a lease, and within what a worker is given to shut down.
PATIENCE_SECONDS = 20.0

Result = TypeVar("Result")


def retry_while_unavailable(run: Callable[[], Result], patience_seconds: float = PATIENCE_SECONDS) -> Result:
    """What `run` returns, in the end; DatabaseUnavailable when Postgres stays away for longer than the patience."""
    until = time.monotonic() + patience_seconds
    while True:
        try:
            return run()
        except DatabaseUnavailable:
            if time.monotonic() > until:
                raise
        time.sleep(0.3 + random.random() * 0.7)  # noqa: S311 - so that the workers don't all come back at once
