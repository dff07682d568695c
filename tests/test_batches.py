"""A batch under way: when its answers are enough to be settled."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from worker import asking
from worker.accounts import Account
from worker.asking import Batch
from worker.domain.answers import Answer
from worker.domain.decide import PolledLead
from worker.domain.lifecycle import State
from worker.store.claims import Claim, ClaimedLead

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def open_batch(leads: int) -> Batch:
    watch = PolledLead(State.QUEUED, NOW, 0, None, None)
    claimed = tuple(ClaimedLead(n, f"queue-id-{n}", watch, None) for n in range(leads))
    account = Account("sandbox", "http://127.0.0.1:1", "query", 5.0, 4)
    return Batch(account, Claim(1, leads, claimed), NOW, 0.0)


def test_answers_are_enough_once_they_are_many() -> None:
    batch = open_batch(3)
    batch.take_answer(0, Answer(200, b"{}"))
    assert not batch.holds_enough(2)
    batch.take_answer(1, Answer(200, b"{}"))
    assert batch.holds_enough(2)


def test_large_answers_are_enough_before_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SETTLE_BYTES", 1000)
    batch = open_batch(3)
    batch.take_answer(0, Answer(200, b"x" * 600))
    assert not batch.holds_enough(100)
    batch.take_answer(1, Answer(200, b"x" * 600))
    assert batch.holds_enough(100)
    batch.hand_over()
    batch.take_answer(2, Answer(200, b"x" * 600))
    assert not batch.holds_enough(100)
