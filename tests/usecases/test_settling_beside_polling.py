"""Answers are settled by a thread of their own: polling goes on meanwhile, and stops where it must wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from worker.domain import backoff
from worker.domain.backoff import LadderSchedule, Schedule
from worker.poller import Poller
from worker.polling import poll_while_due
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.settlement import Polled

Sql = Callable[..., list[tuple[Any, ...]]]
BATCH, CONCURRENCY = 20, 5
PATIENCE = 60.0


@pytest.fixture
def box() -> Iterator[SandboxClient]:
    with running_sandbox(SandboxSettings(latency_seconds=0.002)) as client:
        yield client


@pytest.fixture
def poller(make_poller: Callable[[SandboxClient, int], Poller], box: SandboxClient) -> Poller:
    return replace(make_poller(box, CONCURRENCY), batch_size=BATCH)


def count_polls(box: SandboxClient) -> int:
    return int(box.calls()["by_kind"].get("poll", 0))


def wait_until(is_so: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def test_requests_go_on_while_answers_are_being_settled(
    poller: Poller, box: SandboxClient, make_due: Callable[..., None]
) -> None:
    went_on: list[bool] = []

    def choose_slowly(*_: Any, **__: Any) -> Schedule:
        """A settlement that comes to its end only once all have been asked about."""
        if not went_on:
            went_on.append(wait_until(lambda: count_polls(box) == BATCH))
        return LadderSchedule()

    make_due("sandbox-queued-#", BATCH)
    slow = replace(poller, choose_schedule=choose_slowly)
    assert sum(poll_while_due(slow, lambda: True), start=Polled()) == Polled(polled=BATCH, waiting=BATCH)
    assert went_on == [True]


def test_polling_waits_where_too_many_answers_are_not_settled_yet(
    poller: Poller, box: SandboxClient, make_due: Callable[..., None]
) -> None:
    may_settle, asked = Event(), []

    def choose_late(*_: Any, **__: Any) -> Schedule:
        if not may_settle.is_set():
            time.sleep(0.5)  # in which it would go on if it could
            asked.append(count_polls(box))
            may_settle.set()
        return LadderSchedule()

    make_due("sandbox-queued-#", 10 * BATCH)
    slow = replace(poller, choose_schedule=choose_late)
    polled = sum(poll_while_due(slow, lambda: True), start=Polled())
    assert polled == Polled(polled=10 * BATCH, waiting=10 * BATCH)
    assert asked[0] < 5 * BATCH


def test_batches_that_share_permits_never_have_more_under_way_than_the_account_may(
    poller: Poller, box: SandboxClient, make_due: Callable[..., None], sql: Sql
) -> None:
    make_due("sandbox-approved-#", 10 * BATCH)
    total = Polled()
    for polled in poll_while_due(poller, lambda: True):
        total += polled
        held = sql("select coalesce(sum(permits), 0) from resolver.claims")
        assert held[0][0] <= CONCURRENCY
    assert total == Polled(polled=10 * BATCH, final=10 * BATCH, journalled=10 * BATCH)
    assert box.calls()["by_account"]["sandbox"]["peak_concurrency"] <= CONCURRENCY
    assert sql("select count(*) from resolver.claims") == [(0,)]


def test_an_error_of_a_settlement_ends_the_polling(poller: Poller, make_due: Callable[..., None], sql: Sql) -> None:
    def choose_wrongly(*_: Any, **__: Any) -> Schedule:
        raise ValueError("planted")

    make_due("sandbox-queued-#", BATCH)
    with pytest.raises(ValueError, match="planted"):
        list(poll_while_due(replace(poller, choose_schedule=choose_wrongly), lambda: True))
    assert sql("select count(*) from resolver.watches where claim_id is not null") == [(BATCH,)]  # for the rescue


def test_the_refusal_of_one_lead_does_not_keep_the_others_of_its_account_from_being_asked(
    poller: Poller, box: SandboxClient, make_due: Callable[..., None], sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine the run outlasts five seconds; alone in a batch by then, the lead would speak for the whole key.
    monkeypatch.setattr(backoff, "FAILURE_BASE", backoff.FAILURE_CAP)
    make_due("sandbox-approved-#", 10 * BATCH)
    make_due("sandbox-403-#", 1)
    make_due("sandbox-slow-#", 1)  # its batch, and what that one shares with the others, lasts for three seconds
    sql("update resolver.watches set next_poll_at = next_poll_at - interval '1 h' where queue_id ~ '403|slow'")
    total = sum(poll_while_due(poller, lambda: True), start=Polled())
    assert (total.polled, total.final, total.failed) == (10 * BATCH + 2, 10 * BATCH + 1, 1)
    assert count_polls(box) == 10 * BATCH + 2
    # Moments are lost to those that were under way then and are not sent any more: once, not again and again.
    ((reserved,),) = sql("select requests_today from resolver.accounts")
    assert reserved <= 12 * BATCH + 2
