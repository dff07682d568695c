"""Requests that were delayed neither leave in a bunch nor too late, and leads that were not asked about don't pay."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from worker.accounts import Account
from worker.domain.backoff import LadderSchedule
from worker.domain.decide import Policy
from worker.intake import Submission, track
from worker.leadbyte import pace
from worker.leadbyte.client import LeadByteClient
from worker.leadbyte.pace import LATEST_SECONDS, Pace
from worker.leadbyte.requests_transport import RequestsTransport
from worker.polling import Poller, poll_account
from worker.sandbox import running_sandbox
from worker.store.db import transaction


class Clock:
    """Stands still but for sleeping, and for what a test adds to it."""

    def __init__(self) -> None:
        self.now = 100.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_requests_leave_at_their_moments() -> None:
    clock = Clock()
    batch = Pace([0.0, 0.5, 1.0], clock.read, clock.sleep)
    left = []
    for moment in (0.0, 0.5, 1.0):
        assert batch.wait_for_turn(moment)
        left.append(clock.now)
    assert left == [100.0, 100.5, 101.0]


def test_delayed_requests_do_not_catch_up_in_a_bunch() -> None:
    clock = Clock()
    batch = Pace([0.0, 0.5, 1.0], clock.read, clock.sleep)
    clock.now += 5
    left = []
    for moment in (0.0, 0.5, 1.0):
        assert batch.wait_for_turn(moment)
        left.append(clock.now)
    assert left == [105.0, 105.5, 106.0]


def test_a_request_that_is_too_late_is_not_sent() -> None:
    clock = Clock()
    batch = Pace([0.0, 0.5], clock.read, clock.sleep)
    clock.now += LATEST_SECONDS + 0.2
    assert not batch.wait_for_turn(0.0)
    assert batch.wait_for_turn(0.5)


def test_leads_behind_hanging_ones_are_handed_back_unasked(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "LATEST_SECONDS", 0.3)
    policy = Policy(timedelta(days=7), timedelta(hours=1), LadderSchedule())
    with running_sandbox() as box:
        key = SecretStr("sandbox-key")
        account = Account("sandbox", box.base_url, "query", 1000.0, 4, key, None)
        queue_ids = box.submit(8)
        list(track(engine, account.name, map(Submission, queue_ids)))
        with transaction(engine) as connection:
            connection.execute(text("update resolver.watches set next_poll_at = clock_timestamp()"))
        box.script("@poll", "hang")
        client = LeadByteClient(RequestsTransport(), timeout_seconds=0.6)
        polled = poll_account(Poller(engine, client, {account.name: account}, policy, batch_size=8), account)
        client.close()
    assert polled is not None
    assert (polled.failed, polled.lost) == (2, 0)
    with transaction(engine) as connection:
        rows = connection.execute(
            text("select polls, failures, next_poll_at <= clock_timestamp() as due, claim_id from resolver.watches")
        ).all()
    assert sorted(tuple(row) for row in rows) == [(0, 0, True, None)] * 6 + [(1, 1, False, None)] * 2
