"""The Celery tasks: thin, ids in, one word with counts out, and no exception that carries a value.

What each does is in its use case; here is only when to stop and which hint to send next.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import structlog
from celery import Task
from celery.exceptions import Reject
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from worker import runtime
from worker.accounts import choose_account
from worker.celery_app import app
from worker.errors import DatabaseUnavailable, LeadResolverError, SettingsError
from worker.intake import Submission, track
from worker.logs import describe_exception
from worker.polling import poll_while_due
from worker.rescue import sweep
from worker.results import persist_replies
from worker.scheduling import PollTurn, Rechecks, plan_hints
from worker.settings import load_settings
from worker.settlement import Polled

log = structlog.get_logger(__name__)

INTAKE_PATIENCE_SECONDS = 30.0


class TaskFailed(LeadResolverError):
    """What Flower and the log show of an unexpected error: its type and place, no value."""


def _quiet(run: Callable[..., str]) -> Callable[..., str]:
    """Let nothing out but a word: Celery logs and publishes an exception with its text."""

    @wraps(run)
    def wrapper(*args: Any, **kwargs: Any) -> str:  # noqa: ANN401 - passed on as they are
        try:
            return run(*args, **kwargs)
        except DatabaseUnavailable as error:
            log.warning("postgres_unavailable", task=run.__name__, error=str(error))
            return "postgres-unavailable"
        except (Reject, LeadResolverError):
            raise
        except Exception as error:  # noqa: BLE001 - the whole point: none may pass
            said = describe_exception(error)
        raise TaskFailed(said)

    return wrapper


@app.task(name="polling.schedule")
@_quiet
def schedule() -> str:
    """The tick: hint at what Postgres says is due."""
    accounts, recheck = runtime.read_accounts(), runtime.read_recheck()
    rates = {name: account.mean_requests_per_second for name, account in accounts.items()}
    hints = plan_hints(
        runtime.open_process_engine(),
        list(accounts),
        load_settings().lead_resolver_batch_size,
        None if recheck is None else Rechecks(recheck, rates),
    )
    for _ in range(hints.polls):
        _hint(poll)
    if hints.persist:
        _hint(persist)
    if hints.sweep:
        _hint(sweep_leases)
    return f"due:{hints.due} polls:{hints.polls}"


@app.task(name="polling.poll")
@_quiet
def poll() -> str:
    """Claim and poll batches of due leads of all accounts, while there are any and the slice lasts."""
    total, turn = Polled(), PollTurn(runtime.open_process_engine())
    for polled in poll_while_due(runtime.make_poller(), turn.may_go_on):
        total += polled
        if polled.journalled and turn.may_hint():
            _hint(persist)
    if total.journalled:
        _hint(persist)
    if turn.gave_way:
        _hint(poll)  # there may be due work left
    return (
        f"polled:{total.polled} final:{total.final} waiting:{total.waiting} "
        f"failed:{total.failed} abandoned:{total.abandoned}"
    )


@app.task(name="results.persist")
@_quiet
def persist() -> str:
    """Turn journalled replies into facts."""
    done = persist_replies(runtime.open_process_engine(), runtime.read_rules())
    return f"replies:{done.replies} final:{done.final}"


@app.task(name="rescue.sweep")
@_quiet
def sweep_leases() -> str:
    """Take back what dead workers held: leads under lease, and replies they journalled but did not persist."""
    done = sweep(runtime.open_process_engine(), runtime.read_recheck(), load_settings().keep_replies)
    if done.replies_wait:
        _hint(persist)
    return f"rescued:{done.leads} parked:{done.parked}"


# The one message that carries something: acknowledged only when its queue IDs are in Postgres, and put back when its
# worker dies or Postgres stays away. Doubling it is harmless. SQL and the command line need no Redis at all.
@app.task(name="intake.track", bind=True, acks_late=True, reject_on_worker_lost=True, acks_on_failure_or_timeout=True)
@_quiet
def track_queue_ids(
    self: Task[..., str],  # noqa: ARG001 - Celery's, because of bind
    queue_ids: str | list[str],
    account: str | None = None,
    reference: str | None = None,
) -> str:
    """Record one queue ID, or several; `account` may be left out where one alone is configured."""
    ids = [queue_ids] if isinstance(queue_ids, str) else queue_ids
    submissions = [Submission(str(queue_id), reference) for queue_id in ids]
    try:
        name = choose_account(load_settings(), account)
    except SettingsError:
        # Its text quotes what came instead of an account, and that may be anything.
        raise TaskFailed("the message names no account, or something that is none; nothing was recorded") from None
    until = time.monotonic() + INTAKE_PATIENCE_SECONDS
    while True:
        try:
            done = list(track(runtime.open_process_engine(), name, submissions))
        except DatabaseUnavailable as error:
            if time.monotonic() > until:
                raise Reject(str(error), requeue=True) from None
            time.sleep(1 + random.random())  # noqa: S311 - so that the waiting ones don't all come back at once
        else:
            refused = sum(len(batch.refused) for batch in done)
            if refused:
                log.warning("queue_ids_refused", account=name, refused=refused)
            return f"new:{sum(b.new for b in done)} known:{sum(b.known for b in done)} refused:{refused}"


def _hint(task: Task[..., Any]) -> None:
    """Send a hint, if Redis takes it; if not, the next tick sends another."""
    try:
        task.apply_async()
    except (BrokerError, RedisError, OSError) as error:
        log.warning("hint_not_sent", task=task.name, error=type(error).__name__)
