"""Following up actions: what dead senders held, what became of what was sent, what must wait for a person.

Neighbours: `worker.sending` sends, `worker.domain.actions` decides, `worker.store.action_looks` knows the leads.
"""

from __future__ import annotations

from datetime import timedelta

import structlog
from sqlalchemy import Engine

from worker.domain.actions import ActionState, Followed, Look, decide_look
from worker.store.action_looks import expire_sent, list_due_looks, record_looks
from worker.store.db import read_clock, transaction

log = structlog.get_logger(__name__)


def follow_up(engine: Engine, *, settle: timedelta, follow: timedelta) -> int:
    """Take back what dead senders held, and look what became of what was sent; returns how many were looked at.

    `settle`: how long LeadByte may take to show what it has done. `follow`: how long it is followed.
    """
    with transaction(engine) as connection:
        now = read_clock(connection)
        lost = expire_sent(connection, now, follow)
        looks = [(action, decide_look(action, now, settle)) for action in list_due_looks(connection, now)]
        record_looks(connection, looks, now)
    for one in lost:
        log.warning("action_sender_lost", account=one.account, action=one.id)
    for action, look in looks:
        _report(action, look)
    return len(looks)


def _report(action: Followed, look: Look) -> None:
    if look.is_concluded:
        log.info("action_concluded", action=action.id, state=look.state, done_by=look.done_by)
    elif look.state is ActionState.REQUESTED and look.message is not None:
        log.warning("action_did_not_happen", action=action.id, attempts=action.attempts)
    elif look.message is not None:
        log.warning("action_waits_for_a_person", action=action.id, state=look.state)
