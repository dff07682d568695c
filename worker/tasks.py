"""The Celery tasks: thin, ids in, one word with counts out, and no exception that carries a value.

What each does is in its use case; here is only when to stop and which hint to send next.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

import structlog
from celery import Task
from celery.exceptions import Reject

from worker import runtime
from worker.accounts import choose_account
from worker.celery_app import app
from worker.errors import DatabaseUnavailable, LeadResolverError, SettingsError
from worker.following import follow_up
from worker.hinting import hint, hint_seldom
from worker.intake import Submission, track
from worker.learning import recompute_schedules
from worker.logs import describe_exception
from worker.policies import apply_policies
from worker.polling import poll_while_due
from worker.quarantine import request_actions
from worker.rescue import sweep
from worker.results import persist_replies
from worker.scheduling import PollTurn, Rechecks, plan_hints
from worker.sending import Sender, list_accounts, send_next
from worker.settings import load_settings
from worker.settlement import Polled

log = structlog.get_logger(__name__)

INTAKE_PATIENCE_SECONDS = 30.0
SENDING_SECONDS = 5.0  # of one `quarantine.send`, while there is something to send

Recorded = TypeVar("Recorded")


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
        hint(poll)
    if hints.persist:
        hint(persist)
    if hints.sweep:
        hint(sweep_leases)
    if hints.actions:
        hint(send_actions)
    if hints.learn:
        hint(learn)
    return f"due:{hints.due} polls:{hints.polls}"


@app.task(name="polling.poll")
@_quiet
def poll() -> str:
    """Claim and poll batches of due leads of all accounts, while there are any and the slice lasts."""
    total, turn = Polled(), PollTurn(runtime.open_process_engine())

    def let_another_go_on() -> None:
        hint_seldom(poll, turn.may_hint_at_going_on)

    for polled in poll_while_due(runtime.make_poller(), turn.may_go_on, let_another_go_on):
        total += polled
        if polled.journalled:
            hint_seldom(persist, turn.may_hint_at_persisting)
    if total.journalled:
        hint(persist)
    if turn.leaves_work():
        hint(poll)  # what was ours nobody else has permits for
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
    """Take back what dead workers held, leads and replies; then, once a minute, act on held leads by rule."""
    done = sweep(runtime.open_process_engine(), runtime.read_recheck(), load_settings().keep_replies)
    if done.replies_wait:
        hint(persist)
    asked = apply_policies(runtime.open_process_engine(), runtime.read_accounts())
    if asked:
        hint(send_actions)
    return " ".join(
        [f"rescued:{done.leads} parked:{done.parked}", *(f"{kind}:{n}" for kind, n in sorted(asked.items()))]
    )


@app.task(name="schedule.learn")
@_quiet
def learn() -> str:
    """Compute the schedules anew from what resolved since last time."""
    computed = recompute_schedules(runtime.open_process_engine(), runtime.read_learning(), runtime.read_accounts())
    return f"schedules:{computed}"


# This message and `quarantine.request` carry something: acknowledged only when it is in Postgres, and put back when
# their worker dies or Postgres stays away. Doubling them is harmless. SQL and the command line need no Redis at all.
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
    done = _record_patiently(lambda: list(track(runtime.open_process_engine(), name, submissions)))
    refused = sum(len(batch.refused) for batch in done)
    if refused:
        log.warning("queue_ids_refused", account=name, refused=refused)
    return f"new:{sum(b.new for b in done)} known:{sum(b.known for b in done)} refused:{refused}"


def _record_patiently(record: Callable[[], Recorded]) -> Recorded:
    until = time.monotonic() + INTAKE_PATIENCE_SECONDS
    while True:
        try:
            return record()
        except DatabaseUnavailable as error:
            if time.monotonic() > until:
                raise Reject(str(error), requeue=True) from None
            time.sleep(1 + random.random())  # noqa: S311 - so that the waiting ones don't all come back at once


@app.task(
    name="quarantine.request", bind=True, acks_late=True, reject_on_worker_lost=True, acks_on_failure_or_timeout=True
)
@_quiet
def request_action(
    self: Task[..., str],  # noqa: ARG001 - Celery's, because of bind
    action: str,
    ids: str | list[str],
    account: str | None = None,
    reason: str | None = None,
    requested_by: str | None = None,
    fields: object = None,
) -> str:
    """Ask for `release` or `reject` of held leads, each by its queue ID or quarantine ID."""
    if fields is not None:
        said = "the message has field values, which are lead data and must not travel through the broker; nothing was"
        raise TaskFailed(f"{said} requested: use request_quarantine_action in SQL, or Python")
    try:
        name = choose_account(load_settings(), account)
    except SettingsError:
        raise TaskFailed("the message names no account, or something that is none; nothing was requested") from None
    given = [ids] if isinstance(ids, str) else [str(id_) for id_ in ids]
    asker = "Celery" if requested_by is None else requested_by
    done = _record_patiently(
        lambda: request_actions(
            runtime.open_process_engine(), name, str(action), given, requested_by=str(asker), reason=reason
        )
    )
    counts = Counter(one.outcome for one in done)
    if counts["refused"]:
        log.warning("actions_refused", account=name, refused=counts["refused"])
    hint(send_actions)
    return f"requested:{counts['requested']} already:{counts['already requested']} refused:{counts['refused']}"


@app.task(name="quarantine.send")
@_quiet
def send_actions() -> str:
    """Follow up actions on held leads, and send those that wait, account by account, while the slice lasts."""
    sender, settings = runtime.make_sender(), load_settings()
    looked = follow_up(sender.engine, settle=settings.action_settle, follow=settings.action_follow)
    total = sum(_send_in_turns(sender), start=Counter[str]())
    return " ".join([f"looked:{looked}", *(f"{state}:{count}" for state, count in sorted(total.items()))])


def _send_in_turns(sender: Sender) -> Iterator[Counter[str]]:
    """One request of each account in turn; one that answered nothing usable is left alone until the next tick."""
    until = time.monotonic() + SENDING_SECONDS
    accounts = list_accounts(sender)
    random.shuffle(accounts)  # no account is always last
    while accounts and time.monotonic() < until:
        account = accounts.pop(0)
        states = send_next(sender, account)
        if states is not None:
            yield states
            if not states["unsure"]:
                accounts.append(account)
