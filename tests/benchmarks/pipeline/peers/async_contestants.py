"""Procrastinate and PgQueuer in the ring, one asynchronous job a lead, their queues filled beforehand.

They need the extra `bench`. See `procrastinate_per_lead` and `pgqueuer_per_lead` for what they do.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence

import psycopg
from pgqueuer.db import PsycopgDriver
from pgqueuer.queries import Queries
from procrastinate import App, PsycopgConnector
from procrastinate.types import JSONDict

from tests.benchmarks.pipeline.peers import pgqueuer_per_lead, procrastinate_per_lead
from tests.benchmarks.pipeline.peers.peer import Peer, start_worker
from tests.benchmarks.pipeline.peers.tables import create_tables
from tests.benchmarks.pipeline.peers.waiting import WORD
from tests.benchmarks.pipeline.runs import Arena
from worker.local.processes import Launcher

_COROUTINES = 100  # a process


class _AsyncPeer(Peer):
    leads_share = 0.12  # fewer end before its pollers are at their pace
    module: str

    def go(self, arena: Arena, launcher: Launcher) -> None:
        del arena
        for pid in launcher.children.values():
            os.kill(pid, WORD)

    def _start_workers(self, arena: Arena, launcher: Launcher) -> None:
        for number in range(arena.processes):
            start_worker(launcher, arena, f"worker-{number}", (self.module, str(_COROUTINES)))


class Procrastinate(_AsyncPeer):
    """One asynchronous worker a core."""

    name = "procrastinate"
    module = procrastinate_per_lead.__name__

    def start(self, arena: Arena, queue_ids: Sequence[str], launcher: Launcher) -> None:
        create_tables(arena.database_url, queue_ids)
        asyncio.run(_fill_procrastinate(arena.database_url, queue_ids))
        self._start_workers(arena, launcher)


class PgQueuer(_AsyncPeer):
    """One asynchronous worker a core."""

    name = "pgqueuer"
    module = pgqueuer_per_lead.__name__

    def start(self, arena: Arena, queue_ids: Sequence[str], launcher: Launcher) -> None:
        create_tables(arena.database_url, queue_ids)
        asyncio.run(_fill_pgqueuer(arena.database_url, queue_ids))
        self._start_workers(arena, launcher)


async def _fill_procrastinate(url: str, queue_ids: Sequence[str]) -> None:
    app = App(connector=PsycopgConnector(conninfo=url))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        leads = [JSONDict(lead_id=lead, queue_id=queue_id) for lead, queue_id in enumerate(queue_ids, start=1)]
        await app.configure_task(procrastinate_per_lead.TASK).batch_defer_async(*leads)


async def _fill_pgqueuer(url: str, queue_ids: Sequence[str]) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        queries = Queries(PsycopgDriver(connection))
        await queries.install()
        payloads: list[bytes | None] = [json.dumps(lead).encode() for lead in enumerate(queue_ids, start=1)]
        await queries.enqueue([pgqueuer_per_lead.ENTRYPOINT] * len(payloads), payloads, [0] * len(payloads))
