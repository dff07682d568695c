"""What an operator can do to polling: pause and resume an account, ask again about leads given up."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from worker.domain.lifecycle import State
from worker.errors import NotFoundError
from worker.store.accounts import UNTIL_RESUMED, PauseKind, ensure_account, pause_account, resume_account
from worker.store.db import read_clock, transaction
from worker.store.leads import Move, find_abandoned, find_parked, move_leads, watch_leads
from worker.store.worklist import unpark_replies


def pause(engine: Engine, account: str, reason: str) -> None:
    """Ask nothing about this account's leads until it is resumed."""
    with transaction(engine) as connection:
        ensure_account(connection, account)
        pause_account(connection, account, PauseKind.OPERATOR, reason, UNTIL_RESUMED)


def resume(engine: Engine, account: str) -> bool:
    """End any pause of the account; returns whether there was one."""
    with transaction(engine) as connection:
        return resume_account(connection, account, list(PauseKind))


def redrive(engine: Engine, account: str | None, queue_ids: Sequence[str] | None) -> int:
    """Ask again about abandoned and parked leads: the named ones, or all; returns how many.

    Raises:
        NotFoundError: queue IDs were named and none of them is abandoned or parked.
    """
    with transaction(engine) as connection:
        now = read_clock(connection)
        found = find_abandoned(connection, account, queue_ids) | find_parked(connection, account, queue_ids)
        moves = [
            # A parked lead keeps its state; the event says what happened, and the reason for parking goes.
            Move(lead, state, State.QUEUED if state is State.ABANDONED else state, "redriven by an operator")
            for lead, state in found.items()
        ]
        redriven = move_leads(connection, moves, now)
        unpark_replies(connection, list(redriven))
        watch_leads(connection, list(redriven), now)
    if queue_ids and not redriven:
        raise NotFoundError("none of these leads is abandoned or parked; `lead-resolver show ID` says what each is")
    return len(redriven)
