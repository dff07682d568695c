"""Waiting for one's turn in an account's budget, beside the run of polling that has its permits.

Neighbours: `worker.store.slots` keeps the queue; `worker.errands` and `worker.suspects` stand in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine

from worker.errors import DatabaseContended
from worker.store.db import transaction
from worker.store.slots import leave_queue

# The run before us ends its turn within five seconds, and has its last answers soon after. The next tick may try again.
TURN_SECONDS = 10.0
_AGAIN_SECONDS = 0.2
# Of an account that is locked: a claim or a settlement has it for milliseconds. One that somebody has for longer is
# left alone, since other accounts wait behind it.
_CONTENDED_AGAIN_SECONDS = 0.02
_CONTENDED_SECONDS = 1.0

Found = TypeVar("Found")


def wait_for_turn(engine: Engine, ask: Callable[[int | None], tuple[int | None, Found | None]]) -> Found | None:
    """Ask until it is our turn, each time with the ticket that came back; None if there is nothing to wait for now.

    Args:
        engine: of this process.
        ask: one try, given the ticket (None: no place yet) -> (ticket, what was found). No ticket: nothing to wait for.

    Raises:
        DatabaseUnavailable: the place, if there is one, is free when its lease has run out.
    """
    ticket, began_at = None, time.monotonic()
    until = began_at + _CONTENDED_SECONDS
    while True:
        again = _AGAIN_SECONDS
        try:
            ticket, found = ask(ticket)
        except DatabaseContended:
            again = _CONTENDED_AGAIN_SECONDS
        else:
            if found is not None or ticket is None:
                return found
            until = began_at + TURN_SECONDS
        if time.monotonic() >= until:
            break
        time.sleep(again)
    if ticket is not None:
        with transaction(engine) as connection:
            leave_queue(connection, ticket)
    return None
