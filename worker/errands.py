"""Which actions one request is about, and when it may be made: their claim, in the account's budget.

Neighbours: `worker.store.slots` keeps the budget, `worker.store.actions` the ledger; `worker.sending` sends.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from worker.accounts import Account
from worker.clock import read_sleepless
from worker.errors import DatabaseContended
from worker.store.actions import (
    MOST_ITEMS,
    NEEDS,
    SEND_LEASE,
    ClaimedAction,
    Shape,
    claim_actions,
    count_under_way,
    find_sendable,
    is_in_doubt,
)
from worker.store.budget import ROOM_FOR_JITTER, Budget
from worker.store.db import read_clock, transaction
from worker.store.parks import postpone_probes, read_parks
from worker.store.slots import Slot, leave_queue, queue_up, take_slot

# The first byte is written this long after its moment at the latest; the lease lasts far longer.
LATEST_SECONDS = 10.0
DOUBTED = timedelta(minutes=1)  # how long an answer that was lost makes us send a lead at a time
TURN_SECONDS = 10.0  # how long one waits for a permit before the next tick may try
AGAIN_SECONDS = 0.2
# Of an account that is locked: a claim or a settlement has it for milliseconds. One that somebody has for longer is
# left alone until the next tick, since other accounts wait behind it.
CONTENDED_AGAIN_SECONDS = 0.02
CONTENDED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Errand:
    """The actions of one request, claimed: nobody else sends them, and nothing is sent after `send_before`."""

    slot: Slot
    shape: Shape
    actions: tuple[ClaimedAction, ...]
    probed: frozenset[str]  # kinds of calls that are parked, and tried with this
    send_at: float  # by `worker.clock`
    send_before: float


def find_errand(engine: Engine, account: Account) -> Errand | None:
    """Claim the account's next actions for one request, waiting a while for our turn; None if there are none now."""
    ticket, asked_at = None, time.monotonic()
    until = asked_at + TURN_SECONDS
    while True:
        again = AGAIN_SECONDS
        try:
            ticket, errand = _claim(engine, account, ticket)
            asked_at = time.monotonic()
            if errand is not None or ticket is None:
                return errand
        except DatabaseContended:
            again = CONTENDED_AGAIN_SECONDS
        if time.monotonic() >= min(until, asked_at + CONTENDED_SECONDS):
            break
        time.sleep(again)
    if ticket is not None:
        with transaction(engine) as connection:
            leave_queue(connection, ticket)
    return None


def _claim(engine: Engine, account: Account, ticket: int | None) -> tuple[int | None, Errand | None]:
    """One try: no ticket, there is nothing to wait for; no errand, it is not our turn yet."""
    rate = account.requests_per_second * ROOM_FOR_JITTER
    budget = Budget(rate, account.concurrency, account.requests_per_day)
    with transaction(engine) as connection:
        # Process or machine may stand still at any line: the last moment counts from before the clock was read.
        began_at, now, read_at = read_sleepless(), read_clock(connection), read_sleepless()
        place, slot = queue_up(connection, account.name, budget, now, ticket)
        if slot is None:
            return place, None
        chosen = _choose(connection, account, slot, now)
        if chosen is None:
            leave_queue(connection, slot.id)
            return None, None
        take_slot(connection, slot, now)
        postpone_probes(connection, slot.account_id, chosen[2], now)
    wait = slot.send_after.total_seconds()
    return place, Errand(slot, *chosen, read_at + wait, began_at + wait + LATEST_SECONDS)


def _choose(
    connection: Connection, account: Account, slot: Slot, now: datetime
) -> tuple[Shape, tuple[ClaimedAction, ...], frozenset[str]] | None:
    """The next actions that go in one request, claimed, and the parked kinds they probe."""
    # Requests that hang must leave room for polling.
    if count_under_way(connection, slot.account_id, now) >= max(1, account.concurrency // 2):
        return None
    parks = read_parks(connection, slot.account_id, now)
    shape = find_sendable(connection, slot.account_id, parks.closed, now)
    if shape is None:
        return None
    probed = NEEDS[shape] & parks.probing
    # An answer that is lost leaves all its leads to people: while answers get lost, one at a time.
    is_risky = bool(probed) or is_in_doubt(connection, slot.account_id, now - DOUBTED)
    most = 1 if is_risky or shape == "process" else MOST_ITEMS
    lease = slot.send_after + SEND_LEASE
    actions = claim_actions(connection, slot.account_id, shape, slot.id, now, lease, most)
    return (shape, tuple(actions), probed) if actions else None
