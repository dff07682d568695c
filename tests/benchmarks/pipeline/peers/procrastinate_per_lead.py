"""Procrastinate: one asynchronous job a lead, in Postgres. `python -m …procrastinate_per_lead CONCURRENCY` works."""

from __future__ import annotations

import asyncio
import os
import sys

from procrastinate import App, PsycopgConnector
from psycopg_pool import AsyncConnectionPool

from tests.benchmarks.pipeline.peers.asking_async import StreamClient
from tests.benchmarks.pipeline.peers.saving import save_async
from tests.benchmarks.pipeline.peers.tables import make_rows
from tests.benchmarks.pipeline.peers.waiting import hold_back, wait_for_word

TASK = "leads.poll"
_CONNECTIONS = 12  # a process, of either pool; more wait for each other in Postgres


async def _work(concurrency: int) -> None:
    url = os.environ["BENCH_DATABASE_URL"]
    client = StreamClient(os.environ["BENCH_BASE_URL"])
    app = App(connector=PsycopgConnector(conninfo=url, max_size=_CONNECTIONS))
    kwargs = {"autocommit": True}
    async with AsyncConnectionPool(url, min_size=_CONNECTIONS, kwargs=kwargs) as pool, app.open_async():

        @app.task(name=TASK)
        async def poll(lead_id: int, queue_id: str) -> None:
            rows = make_rows(lead_id, queue_id, await client.ask(queue_id))
            async with pool.connection() as connection:
                await save_async(connection, lead_id, rows)
            if rows is None:
                await poll.defer_async(lead_id=lead_id, queue_id=queue_id)

        wait_for_word()
        # Finished jobs are deleted, as Celery's are: a table that only grows would slow it down.
        await app.run_worker_async(
            concurrency=concurrency, delete_jobs="always", fetch_job_polling_interval=0.5, update_heartbeat_interval=10
        )


if __name__ == "__main__":
    hold_back()
    asyncio.run(_work(int(sys.argv[1])))
