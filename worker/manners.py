"""What the answers of a batch say about their account: pause it, resume it, ask it more gently or faster.

Neighbours: `worker.domain.manners` holds the rules, `worker.store.accounts` the pauses, `worker.settlement` calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from worker.asking import ANSWERS, Told
from worker.domain.classify import Meaning
from worker.domain.manners import Answers, Pressure, weigh_answers
from worker.domain.retry_after import read_retry_after
from worker.store.accounts import PauseKind, pause_account, resume_account
from worker.store.claims import PROBE_INTERVAL, Claim
from worker.store.pressure import read_pressure, save_pressure

log = structlog.get_logger(__name__)

# However it went for the lead: LeadByte is there, and bears to be asked.
_WELL = ANSWERS | {Meaning.FAILED}
_ENDED_BY_AN_ANSWER = (PauseKind.KEY, PauseKind.THROTTLED, PauseKind.TROUBLE)


def mind_account(connection: Connection, account: str, claim: Claim, told: Sequence[Told], now: datetime) -> bool:
    """Act on what the answers say of the account rather than of a lead; returns whether nothing more may be sent."""
    # Only the probe knows that the trouble is over: other claims may have been answered before it began.
    if claim.probe_until is not None and any(t.reading.meaning in ANSWERS for t in told):
        _resume(connection, account, claim.probe_until)
    # Who names a time to wait until is among these: it is a 429, or a server error.
    ill = [t for t in told if t.is_strained or t.reading.meaning not in _WELL]
    refused = next((t.reading.reason for t in ill if t.reading.meaning is Meaning.REFUSED), None)
    if refused is not None:
        reason = f"LeadByte refuses this account: {refused}. Check its key, and the key's permission 'API queue'"
        pause(connection, account, PauseKind.KEY, reason, now + PROBE_INTERVAL)
    waits = [
        read_retry_after(t.retry_after, now)
        for t in ill
        if t.reading.meaning is Meaning.THROTTLED or t.retry_after is not None
    ]
    if waits:
        reason = f"LeadByte asked us to wait {max(waits).total_seconds():.0f} s"
        pause(connection, account, PauseKind.THROTTLED, reason, now + max(waits))
    recorded = read_pressure(connection, account)
    is_paused = recorded.paused_until is not None and recorded.paused_until > now
    # What was under way when the account was paused says nothing new of it; a probe does.
    if is_paused and not waits and claim.probe_until is None:
        return True
    answers = Answers(
        good=len(told) - len(ill),
        strained=sum(t.is_strained and t.retry_after is None for t in ill),
        throttled=len(waits),
    )
    return _press(connection, account, recorded.pressure, ill, answers, now) or is_paused


def heed_throttling(connection: Connection, account: str, wait: timedelta, now: datetime) -> None:
    """A request that was no poll was told to wait: pause the account, and ask it more gently afterwards."""
    reason = f"LeadByte asked us to wait {wait.total_seconds():.0f} s"
    pause(connection, account, PauseKind.THROTTLED, reason, now + wait)
    _adjust(connection, account, read_pressure(connection, account).pressure, Answers(throttled=1), now)


def pause(connection: Connection, account: str, kind: PauseKind, reason: str, until: datetime) -> None:
    """Pause the account and say so."""
    pause_account(connection, account, kind, reason, until)
    log.warning("account_paused", account=account, kind=kind, until=until.isoformat(timespec="seconds"))


def _resume(connection: Connection, account: str, probe_until: datetime) -> None:
    if resume_account(connection, account, _ENDED_BY_AN_ANSWER, no_later_than=probe_until):
        log.info("account_resumed", account=account)


def _press(
    connection: Connection, account: str, known: Pressure, ill: Sequence[Told], answers: Answers, now: datetime
) -> bool:
    """Let the answers have their effect on how hard the account is asked; returns whether it is to be left alone."""
    rest = _adjust(connection, account, known, answers, now)
    if rest is not None:
        said = next(t.reading.reason for t in ill if t.is_strained)
        reason = f"LeadByte does not answer ({said}); probing every {rest.total_seconds():.0f} s whether it does again"
        pause(connection, account, PauseKind.TROUBLE, reason, now + rest)
    return rest is not None or answers.throttled > 0


def _adjust(
    connection: Connection, account: str, before: Pressure, answers: Answers, now: datetime
) -> timedelta | None:
    """Write down the pressure from now on; for how long to ask nothing at all, if the breaker opens."""
    pressure, rest = weigh_answers(before, answers, now)
    if pressure != before:
        save_pressure(connection, account, pressure)
    if pressure.share < before.share:
        log.warning("account_slowed_down", account=account, share=round(pressure.share, 2))
    return rest
