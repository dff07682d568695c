"""PgQueuer: one asynchronous job a lead, in Postgres. `python -m …pgqueuer_per_lead CONCURRENCY` works."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable

import psycopg
from pgqueuer import PgQueuer
from pgqueuer.db import PsycopgDriver
from pgqueuer.models import Job
from psycopg_pool import AsyncConnectionPool

from tests.benchmarks.pipeline.peers.asking_async import StreamClient
from tests.benchmarks.pipeline.peers.saving import save_async
from tests.benchmarks.pipeline.peers.tables import make_rows
from tests.benchmarks.pipeline.peers.waiting import hold_back, wait_for_word

ENTRYPOINT = "leads"
_CONNECTIONS = 12  # a process; more wait for each other in Postgres
_BATCH = 50  # jobs taken at once


class _Driver(PsycopgDriver):
    """Queries on one connection, notifications on another: on the same one, queries wait for the listening to pause."""

    def __init__(self, connection: psycopg.AsyncConnection, listening: psycopg.AsyncConnection) -> None:
        super().__init__(connection)
        self._listener = PsycopgDriver(listening)

    async def add_listener(self, channel: str, callback: Callable[[str | bytes | bytearray], None]) -> None:
        await self._listener.add_listener(channel, callback)

    async def remove_listener(self, channel: str, callback: Callable[[str | bytes | bytearray], None]) -> None:
        await self._listener.remove_listener(channel, callback)


async def _work(concurrency: int) -> None:
    url = os.environ["BENCH_DATABASE_URL"]
    client = StreamClient(os.environ["BENCH_BASE_URL"])
    kwargs = {"autocommit": True}
    async with (
        await psycopg.AsyncConnection.connect(url, autocommit=True) as asking,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as listening,
        AsyncConnectionPool(url, min_size=_CONNECTIONS, kwargs=kwargs) as pool,
    ):
        queuer = PgQueuer(_Driver(asking, listening))

        @queuer.entrypoint(ENTRYPOINT)
        async def poll(job: Job) -> None:
            lead_id, queue_id = json.loads(job.payload or b"")
            rows = make_rows(lead_id, queue_id, await client.ask(queue_id))
            async with pool.connection() as connection:
                await save_async(connection, lead_id, rows)
            if rows is None:
                await queuer.qm.queries.enqueue(ENTRYPOINT, job.payload)

        wait_for_word()
        await queuer.run(batch_size=_BATCH, max_concurrent_tasks=max(concurrency, 2 * _BATCH))


if __name__ == "__main__":
    hold_back()
    asyncio.run(_work(int(sys.argv[1])))
