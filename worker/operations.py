"""What an operator can do to polling: pause and resume an account, ask again about leads given up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import partial

from sqlalchemy import Engine

from worker.domain.lifecycle import State
from worker.errors import NotFoundError
from worker.retrying import retry_while_unavailable
from worker.store.accounts import (
    UNTIL_RESUMED,
    PauseKind,
    ensure_account,
    list_accounts,
    pause_account,
    resume_account,
)
from worker.store.db import read_clock, transaction
from worker.store.leads import Move, find_given_up, move_leads, watch_leads
from worker.store.worklist import unpark_replies

REDRIVE_PAGE = 5_000  # leads in one transaction


def pause(engine: Engine, account: str, reason: str, configured: Collection[str] = ()) -> None:
    """Ask nothing about this account's leads until it is resumed.

    Raises:
        NotFoundError: no lead is of this account, and it is not configured either.
    """
    with transaction(engine) as connection:
        known = list_accounts(connection) | set(configured)
        if account not in known:
            raise NotFoundError(f"there is no account {account}; known are: {', '.join(sorted(known)) or 'none'}")
        ensure_account(connection, account)
        pause_account(connection, account, PauseKind.OPERATOR, reason, UNTIL_RESUMED)


def resume(engine: Engine, account: str) -> bool:
    """End any pause of the account; returns whether there was one."""
    with transaction(engine) as connection:
        return resume_account(connection, account, list(PauseKind))


def redrive(
    engine: Engine, account: str | None, queue_ids: Sequence[str] | None, requests_per_second: float = 0.0
) -> int:
    """Ask again about abandoned and parked leads: the named ones, or all; returns how many.

    The leads of an account become due at `requests_per_second` (0: all at once), so that many of them do not stand in
    the way of leads submitted meanwhile. What was done before an error stays done.

    Raises:
        NotFoundError: queue IDs were named and none of them is abandoned or parked.
    """
    with transaction(engine) as connection:
        found = find_given_up(connection, account, queue_ids)
    gap = timedelta(seconds=1 / requests_per_second) if requests_per_second else timedelta(0)
    redriven = 0
    for leads in found.values():
        for start in range(0, len(leads), REDRIVE_PAGE):
            redrive_page = partial(_redrive_page, engine, leads[start : start + REDRIVE_PAGE], start * gap, gap)
            # Settling locks a lead's watch before the lead: meeting it may end in a deadlock, which is tried again.
            redriven += retry_while_unavailable(redrive_page, patience_seconds=3)
    if queue_ids and not redriven:
        raise NotFoundError("none of these leads is abandoned or parked; `lead-resolver show ID` says what each is")
    return redriven


def _redrive_page(engine: Engine, leads: Sequence[tuple[int, State]], after: timedelta, gap: timedelta) -> int:
    moves = [
        # A parked lead keeps its state; the event says what happened, and the reason for parking goes.
        Move(lead, state, State.QUEUED if state is State.ABANDONED else state, "redriven by an operator")
        for lead, state in leads
    ]
    with transaction(engine) as connection:
        now = read_clock(connection)
        redriven = sorted(move_leads(connection, moves, now))
        unpark_replies(connection, redriven)
        watch_leads(connection, redriven, now, first_poll_after=after, gap=gap)
    return len(redriven)
