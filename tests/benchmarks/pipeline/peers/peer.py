"""What the peers' contestants share: tables of their own, and how their workers are started."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.benchmarks.pipeline.peers.tables import COUNT_OPEN, count_stored
from tests.benchmarks.pipeline.peers.waiting import READY
from tests.benchmarks.pipeline.replies import Expected
from tests.benchmarks.pipeline.runs import Arena, Connection, Contestant, says_ready
from worker.local.processes import ChildSpec, Launcher
from worker.local.stack import child_environment


class Peer(Contestant):
    """Some of the leads are enough: its rate is steady, and a fraction of ours."""

    leads_share = 0.04

    def count_open(self, connection: Connection) -> int:
        """Leads without a stored verdict."""
        row = connection.execute(COUNT_OPEN).fetchone()
        return row[0] if row else 0

    def count_stored(self, connection: Connection) -> Expected:
        """What is in the tables at the end."""
        return count_stored(connection)


def start_worker(launcher: Launcher, arena: Arena, name: str, arguments: Sequence[str], **more: str) -> None:
    """Start `python -m ARGUMENTS` on the arena's servers; return when it is ready; `more` goes into its environment."""
    log = arena.folder / f"{name}.log"
    environment = child_environment(
        REDIS_URL=arena.redis_url, BENCH_DATABASE_URL=arena.database_url, BENCH_BASE_URL=arena.base_url, **more
    )
    argv = (sys.executable, "-m", *arguments)
    launcher.start(ChildSpec(name, argv, environment, lambda: says_ready(log, READY)))
