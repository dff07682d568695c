"""Celery in the ring, one task a lead, its queue filled beforehand. See `celery_per_lead` for what it does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from celery import Celery
from redis import Redis

from tests.benchmarks.pipeline.peers import celery_per_lead
from tests.benchmarks.pipeline.peers.peer import Peer, start_worker
from tests.benchmarks.pipeline.peers.tables import create_tables
from tests.benchmarks.pipeline.runs import Arena
from worker.local.processes import Launcher

_HELD_BACK = "leads-held-back"
_THREADS = 48  # more only wait for each other: they share one interpreter
_FEW_THREADS = 4  # where an answer takes no time
_WAITING_CHILDREN = 32  # processes, where most of the time is waiting for answers; more want gigabytes, for nothing


class _CeleryPeer(Peer):
    @abstractmethod
    def list_options(self, arena: Arena) -> tuple[str, ...]:
        """The worker's pool and its size."""

    def count_threads(self, arena: Arena) -> int:
        del arena
        return 0

    def start(self, arena: Arena, queue_ids: Sequence[str], launcher: Launcher) -> None:
        create_tables(arena.database_url, queue_ids)
        # Under another name until the word is given: Celery's queue is a list in Redis.
        with Celery(broker=arena.redis_url, set_as_current=False) as app, app.producer_pool.acquire() as producer:
            for lead in enumerate(queue_ids, start=1):
                app.send_task("leads.poll", args=lead, queue=_HELD_BACK, producer=producer, ignore_result=True)
        module = celery_per_lead.__name__
        arguments = ("worker", *celery_per_lead.ARGUMENTS, *self.list_options(arena))
        start_worker(
            launcher,
            arena,
            self.name,
            ("celery", "-A", module, *arguments),
            BENCH_THREADS=str(self.count_threads(arena)),
        )

    def go(self, arena: Arena, launcher: Launcher) -> None:
        del launcher
        with Redis.from_url(arena.redis_url) as redis:
            redis.rename(_HELD_BACK, celery_per_lead.QUEUE)


class CeleryPrefork(_CeleryPeer):
    """One process a core; where answers take their time, more of them."""

    name = "celery prefork"

    def list_options(self, arena: Arena) -> tuple[str, ...]:
        children = _WAITING_CHILDREN if arena.scenario.latency_ms else arena.processes
        return ("--pool=prefork", f"--concurrency={children}")


class CeleryThreads(_CeleryPeer):
    """One process, many threads."""

    name = "celery threads"

    def list_options(self, arena: Arena) -> tuple[str, ...]:
        return ("--pool=threads", f"--concurrency={self.count_threads(arena)}")

    def count_threads(self, arena: Arena) -> int:
        return _THREADS if arena.scenario.latency_ms else _FEW_THREADS
