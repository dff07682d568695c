"""What becomes of an action after its request: pure, from the verdict on it to what the ledger records.

Neighbours: `worker.domain.action_answers` gives verdicts, `worker.store.actions` records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.action_answers import Outcome, Verdict
from worker.domain.actions import PERMISSION, ActionState, DoneBy
from worker.domain.answers import Silence
from worker.domain.backoff import delay_after_failure
from worker.domain.values import LONGEST_TEXT, read_text

# What surely did not arrive: every other reason for silence comes after the first byte.
NEVER_ARRIVED = frozenset({Silence.UNSENT, Silence.CONNECTION, Silence.TLS})
LET_IN = frozenset({Outcome.DONE, Outcome.QUEUED, Outcome.REFUSED})  # the key opened the door
_SHORTEST_HIDDEN = 2  # characters


@dataclass(frozen=True, slots=True)
class Result:
    """What sending came to for one action. `again_at`: when it is to be sent again, or looked at; None: neither."""

    id: int
    state: ActionState
    message: str
    again_at: datetime | None = None
    done_by: DoneBy | None = None
    follow_until: datetime | None = None
    is_unsent: bool = False  # surely: this attempt does not count
    failed: bool = False  # and the way to LeadByte was barred


def conclude_unsent(action_id: int, why: Silence, failures: int, now: datetime, chance: float) -> Result:
    """The result where nothing was written: it may be sent again, after a while where LeadByte can't be reached."""
    failed = why is not Silence.UNSENT
    delay = delay_after_failure(failures + 1, chance) if failed else timedelta(0)
    said = f"not sent yet: {why}" if failed else "not sent yet: its moment had passed"
    return Result(action_id, ActionState.REQUESTED, said, now + delay, is_unsent=True, failed=failed)


def conclude_sent(
    action_id: int, verdict: Verdict, now: datetime, *, follow: timedelta, wait: timedelta, bears_news: bool
) -> Result:
    """The result of a request that was sent, or may have been.

    Args:
        action_id: the action.
        verdict: on it.
        now: by the database's clock.
        follow: how long LeadByte may take to do what it acknowledged.
        wait: how long LeadByte asks us to wait, where it does.
        bears_news: this is the action to be refused should a permission be missing; others wait for it.
    """
    words = verdict.words
    if verdict.outcome is Outcome.DONE:
        return Result(action_id, ActionState.CONFIRMED, words, done_by=DoneBy.US)
    if verdict.outcome is Outcome.QUEUED:
        return Result(action_id, ActionState.ACKNOWLEDGED, words, now + timedelta(seconds=2), follow_until=now + follow)
    if verdict.outcome is Outcome.REFUSED:
        return Result(action_id, ActionState.REFUSED, words)
    if verdict.outcome is Outcome.FORBIDDEN:
        if not bears_news:
            return Result(action_id, ActionState.REQUESTED, words, now, is_unsent=True)
        return Result(action_id, ActionState.REFUSED, f"{words}. The key needs the permission '{PERMISSION}'")
    if verdict.outcome is Outcome.THROTTLED:
        return Result(action_id, ActionState.REQUESTED, words, now + wait, is_unsent=True)
    return Result(action_id, ActionState.UNSURE, words, now, follow_until=now + follow)


def hide_values(words: str, values: Iterable[object]) -> str:
    """The words without the values sent: a refusal may quote what it refuses, in its own spelling, and be cut short."""
    may_be_cut = len(words) >= LONGEST_TEXT
    spellings = {spelling for value in map(str, values) for spelling in (value, read_text(value) or value)}
    for value in sorted(spellings, key=len, reverse=True):
        if len(value) >= _SHORTEST_HIDDEN:
            words = re.sub(re.escape(value), "***", words, flags=re.IGNORECASE)
            words = _hide_beginning(words, value) if may_be_cut else words
    return words


def _hide_beginning(words: str, value: str) -> str:
    """Without what stands of the value where a sentence was cut."""
    for length in range(min(len(value), LONGEST_TEXT), _SHORTEST_HIDDEN - 1, -1):
        cut = re.compile(re.escape(value[:length]) + r"(?=; |$)", re.IGNORECASE)
        if cut.search(words):
            return cut.sub("***", words)
    return words
