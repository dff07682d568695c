"""A batch under way: when its answers are enough to be settled."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from worker import asking
from worker.accounts import Account
from worker.asking import Batch
from worker.domain.answers import Answer
from worker.domain.decide import PolledLead
from worker.domain.lifecycle import State
from worker.domain.manners import BREAKS_AFTER
from worker.store.claims import Claim, ClaimedLead

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SETTLE_WITHIN_SECONDS", 3600)


def open_batch(leads: int) -> Batch:
    watch = PolledLead(State.QUEUED, NOW, 0, None, None)
    claimed = tuple(ClaimedLead(n, f"queue-id-{n}", watch, None) for n in range(leads))
    account = Account("sandbox", "http://127.0.0.1:1", "query", 5.0, 4)
    return Batch(account, Claim(1, leads, claimed), NOW, 0.0)


def test_large_answers_are_enough_before_they_are_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SETTLE_BYTES", 1000)
    batch = open_batch(4)
    batch.take_answer(0, Answer(200, b"x" * 600), time.monotonic())
    assert not batch.is_ripe()
    batch.take_answer(1, Answer(200, b"x" * 600), time.monotonic())
    assert batch.is_ripe()
    batch.hand_over()
    batch.take_answer(2, Answer(200, b"x" * 600), time.monotonic())
    assert not batch.is_ripe()


def test_as_many_strained_answers_as_open_the_breaker_are_enough() -> None:
    batch = open_batch(40)
    for lead in range(BREAKS_AFTER):
        assert not batch.is_ripe()
        batch.take_answer(lead, Answer(500, b""), time.monotonic())
    assert batch.is_ripe()
    batch.hand_over()
    batch.take_answer(BREAKS_AFTER, Answer(500, b""), time.monotonic())
    assert not batch.is_ripe()


def test_answers_are_enough_when_there_are_no_others_to_wait_for() -> None:
    batch = open_batch(1)
    batch.take_answer(0, Answer(200, b"{}"), time.monotonic())
    assert batch.is_ripe()


def test_a_refusal_waits_for_what_is_under_way_since_it_may_be_of_one_lead_alone() -> None:
    batch = open_batch(2)
    batch.waiting.clear()  # both are under way
    batch.take_answer(0, Answer(403, b"{}"), time.monotonic())
    assert not batch.is_ripe()
    batch.take_answer(1, Answer(403, b"{}"), time.monotonic())
    assert batch.is_ripe()


def test_a_plea_to_wait_is_heeded_at_once() -> None:
    batch = open_batch(3)
    batch.take_answer(0, Answer(429, b""), time.monotonic())
    assert batch.is_ripe()
    batch.hand_over()
    batch.take_answer(1, Answer(200, b"{}"), time.monotonic())
    assert not batch.is_ripe()
