"""The usual way: one Celery task a lead, which asks LeadByte, stores the verdict, or sends itself again.

Set as Celery's guide "Optimizing" advises for many short tasks: a large prefetch, early acknowledgement, no results, no
events, no gossip, mingle or heartbeat; a connection to each server for each process or thread, kept.
"""

from __future__ import annotations

import os
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import psycopg
import requests
from celery import Celery
from celery.signals import worker_process_init, worker_ready

from tests.benchmarks.pipeline.peers.saving import save
from tests.benchmarks.pipeline.peers.tables import make_rows
from tests.benchmarks.pipeline.peers.waiting import READY

QUEUE = "leads"
ARGUMENTS = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING")

app = Celery("celery-per-lead", broker=os.environ.get("REDIS_URL", "redis://127.0.0.1/0"))
app.conf.update(
    task_ignore_result=True,
    task_default_queue=QUEUE,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=False,
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)
# Opened before the first task, and taken in turns: by each process its one pair, by threads one of as many as they are.
_idle: SimpleQueue[tuple[requests.Session, psycopg.Connection[Any]]] = SimpleQueue()


@worker_process_init.connect
def _open_one(**_: Any) -> None:
    _open_connections(1)


@worker_ready.connect
def _say_ready(**_: Any) -> None:
    _open_connections(int(os.environ["BENCH_THREADS"]))
    print(READY, flush=True)  # noqa: T201 - the benchmark reads it in the log


@app.task(name="leads.poll")
def poll(lead_id: int, queue_id: str) -> None:
    """Ask about one lead and store what is told; not yet: another task."""
    session, connection = _idle.get()
    try:
        reply = session.get(f"{os.environ['BENCH_BASE_URL']}/apiqueue/{queue_id}", params={"key": "k"}, timeout=15)
        rows = make_rows(lead_id, queue_id, reply.content)
        save(connection, lead_id, rows)
    finally:
        _idle.put((session, connection))
    if rows is None:
        # Due at once, as in every contestant. A later time would be dearer: Celery holds such tasks in memory.
        poll.apply_async((lead_id, queue_id), countdown=0)


def _open_connections(count: int) -> None:
    for _ in range(count):
        session = requests.Session()
        session.trust_env = False  # looking for proxies in the environment costs a part of each request
        session.get(f"{os.environ['BENCH_BASE_URL']}/apiqueue/ac1e0206-warm-{uuid4().hex[:8]}", params={"key": "k"})
        _idle.put((session, psycopg.connect(os.environ["BENCH_DATABASE_URL"], autocommit=True)))
