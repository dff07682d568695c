"""Celery, as we use it: a bell that rings, never the place where anything is kept.

A message is a hint to look into Postgres. Losing, doubling or delaying every one of them costs one tick, so each
setting below chooses the cheap and lively way rather than the careful one; its reason stands beside it.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Any, NoReturn

from celery import Celery
from celery.signals import celeryd_init, setup_logging, worker_process_init
from kombu import Queue

from worker.accounts import require_accounts
from worker.beat import EverySecond
from worker.broker_watch import BrokerWatch
from worker.envelopes import install as install_envelopes
from worker.errors import SettingsError
from worker.logs import set_up_logging
from worker.settings import load_settings

LEAST_PROCESSES, MOST_PROCESSES = 2, 8
COLLECT_AFTER = 50_000  # objects made and not freed; Python's default is 700

QUEUES = ("schedule", "polling", "results", "intake", "quarantine")

ROUTES = {
    # The tick and the sweep have a queue of their own: no backlog of other hints may hold up liveness.
    "polling.schedule": {"queue": "schedule"},
    "rescue.sweep": {"queue": "schedule"},
    "polling.poll": {"queue": "polling"},
    "results.persist": {"queue": "results"},
    "schedule.learn": {"queue": "results"},  # takes seconds, and nothing waits for it
    "intake.track": {"queue": "intake"},
    "quarantine.request": {"queue": "intake"},
    "quarantine.send": {"queue": "quarantine"},
}


def _count_cores() -> int:
    """Those that this process may use, whatever a container's quota of CPU time is."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_processes(wanted: int, cores: int) -> int:
    """One a core unless others are wanted: two that share one only wait for each other.

    Two at least: while one waits for the last answers of a turn, or persists, another goes on asking. Eight at most:
    each has up to five connections, of the hundred that Postgres has for all, and 150 MB.
    """
    return wanted or min(max(LEAST_PROCESSES, cores), MOST_PROCESSES)


def _make_app() -> Celery:
    install_envelopes()
    app = Celery("lead-resolver", include=["worker.tasks"])
    app.conf.update(
        broker_url=load_settings().required_redis_url(),
        # Nothing is read from a result, and results would be data in Redis.
        task_ignore_result=True,
        result_backend=None,
        # JSON alone: a pickled message from whoever can reach Redis would be code to run.
        task_serializer="json",
        accept_content=["json"],
        # A queue that nobody declared is a spelling mistake, and must not silently become a queue nobody reads.
        task_create_missing_queues=False,
        task_queues=[Queue(name) for name in QUEUES],
        task_default_queue="schedule",
        task_routes=ROUTES,
        # Acknowledged when taken: a hint lost with its worker costs a tick, while late acknowledgement makes Redis
        # deliver hints again for hours. (`intake.track` and `quarantine.request` carry something, and say otherwise.)
        task_acks_late=False,
        # One at a time: a hint that waits behind a batch in one process could be taken up by an idle one.
        worker_prefetch_multiplier=1,
        # `--concurrency` overrules it.
        worker_concurrency=choose_processes(load_settings().worker_processes, _count_cores()),
        # A child is replaced after this many tasks, should anything in a library leak; forking costs milliseconds.
        worker_max_tasks_per_child=10_000,
        # A task that hangs in spite of every bound of ours; its leads are rescued when the lease has run out.
        task_time_limit=120,
        # Redis may be away for longer than any number of tries: go on trying for ever, also at the start.
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A task already running needs no Redis; cancelling it would only cost a lease.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # A hint that can't be sent at once isn't worth waiting for: the next tick sends another.
        task_publish_retry=False,
        broker_transport_options={
            # Bounds for a Redis that is frozen or half-open; the kernel's own patience is a quarter of an hour.
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
            # Only `intake.track` and `quarantine.request` are ever redelivered; their longest run is far shorter.
            "visibility_timeout": 600,
        },
        # Flower lives on events. They hold task names, ids and the arguments below, which are ids as well.
        worker_send_task_events=True,
        task_send_sent_event=False,
        # Remote control is Flower's and `celery inspect`'s; nobody must be able to run new code through it.
        worker_enable_remote_control=True,
        # Logs are ours (worker/logs.py): Celery's own would print tracebacks with values in them.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # Times are UTC everywhere.
        enable_utc=True,
        timezone="UTC",
        # In memory, without a schedule file: what is due is dated in Postgres, beat needs to remember nothing.
        beat_scheduler="celery.beat:Scheduler",
        beat_max_loop_interval=1,
        beat_schedule={"tick": {"task": "polling.schedule", "schedule": EverySecond()}},
    )
    app.steps["consumer"].add(BrokerWatch)
    return app


@setup_logging.connect
def _set_up_logging(**_: Any) -> None:  # noqa: ANN401 - whatever Celery tells its listeners
    settings = load_settings()
    set_up_logging(settings.lead_resolver_log_level, settings.lead_resolver_log_format)


@worker_process_init.connect
def _calm_the_collector(**_: Any) -> None:  # noqa: ANN401 - whatever Celery tells its listeners
    """A batch makes tens of thousands of objects, none of them in cycles: looking for some took a fifth of the CPU.

    What was imported never becomes garbage, so it is left out; of the rest all is looked at, but seldom.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])


@celeryd_init.connect
def _require_an_account(**_: Any) -> None:  # noqa: ANN401 - whatever Celery tells its listeners
    """A worker without a key would only pause every account; beat and Flower need none."""
    try:
        require_accounts(load_settings())
    except SettingsError as error:
        _exit_with(error)


def _make_app_or_exit() -> Celery:
    # `celery -A worker.celery_app` imports this module: a wrong setting must be one line there too.
    try:
        load_settings().required_database_url()
        return _make_app()
    except SettingsError as error:
        _exit_with(error)


def _exit_with(error: SettingsError) -> NoReturn:
    sys.stderr.write(f"lead-resolver: {error}\n")
    raise SystemExit(error.exit_code) from None


app = _make_app_or_exit()
