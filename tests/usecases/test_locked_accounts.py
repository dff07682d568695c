"""Somebody has an account's row locked, for as long as he leaves a transaction open: no claim of another waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from worker import claiming, queueing
from worker.claiming import Claimer
from worker.errands import find_errand
from worker.lane import Lane
from worker.leadbyte.client import Question
from worker.permits import PermitKeeper
from worker.poller import Poller
from worker.polling import poll_while_due
from worker.reserving import CONTENDED_AGAIN_SECONDS
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.settlement import Polled

Sql = Callable[..., list[tuple[Any, ...]]]
Hold = Callable[[str], AbstractContextManager[None]]

# How a request leaves is for others to tell.
pytestmark = pytest.mark.parametrize("make_poller", ["curl"], indirect=True)


@pytest.fixture
def poller(make_poller: Callable[[SandboxClient, int], Poller]) -> Iterator[Poller]:
    """Of five accounts, at one LeadByte."""
    names = [f"account-{n}" for n in range(4)]
    with running_sandbox(SandboxSettings(other_accounts=dict.fromkeys(names, "sandbox-key"))) as box:
        poller = make_poller(box, 4)
        ours = poller.accounts["sandbox"]
        yield replace(poller, accounts={**poller.accounts, **{name: replace(ours, name=name) for name in names}})


@pytest.fixture
def hold(database_url: str) -> Hold:
    """A transaction that somebody leaves open after this statement."""

    @contextmanager
    def run(statement: str) -> Iterator[None]:
        with psycopg.connect(database_url) as connection:
            connection.execute(statement)
            yield
            connection.rollback()

    return run


@pytest.fixture(autouse=True)
def _due_leads(sql: Sql, poller: Poller) -> None:
    for name in poller.accounts:
        sql("select track_lead(%s, 'sandbox-approved-' || n) from generate_series(1, 3) n", name)
    sql("update resolver.watches set next_poll_at = clock_timestamp() - interval '1 s'")


def poll_all(poller: Poller) -> Polled:
    return sum(poll_while_due(poller, lambda: True), start=Polled())


@pytest.mark.parametrize("how", ["select from {} where {} for update", "update {} set trips = trips where {}"])
def test_accounts_that_somebody_has_locked_hold_up_no_other(poller: Poller, hold: Hold, how: str) -> None:
    with hold(how.format("resolver.accounts", "name <> 'sandbox'")):
        assert poll_all(poller).final == 3
    assert poll_all(poller).final == 12


def test_who_records_leads_in_a_transaction_of_his_own_locks_no_account(poller: Poller, hold: Hold) -> None:
    with hold("select track_lead(name, 'of-a-site') from resolver.accounts"):
        assert poll_all(poller).final == 15


def test_a_claim_that_meets_a_lock_keeps_no_request_under_way_waiting(
    poller: Poller, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    now = [100.0]
    monkeypatch.setattr(claiming, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=naps.append))
    account = poller.accounts["sandbox"]
    with hold("select from resolver.accounts for update"), closing(poller.client.open_window()) as window:
        window.add(account, 0, [Question(1, "sandbox-approved-1", send_at=time.monotonic() + 3600.0)], 1)
        claimer = Claimer(poller, window, PermitKeeper(poller.engine, poller.client.timeout_seconds))
        assert claimer.claim(Lane(0, account)) is None
        assert not claimer.may_claim(account)
        now[0] += CONTENDED_AGAIN_SECONDS
        assert claimer.may_claim(account)
        claimer.close([])
    assert naps == []


def test_the_distance_to_a_late_request_is_not_waited_for_as_long_as_somebody_likes(
    poller: Poller, hold: Hold, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    monkeypatch.setattr(claiming, "time", SimpleNamespace(monotonic=time.monotonic, sleep=naps.append))
    keeper = PermitKeeper(poller.engine, poller.client.timeout_seconds)
    with closing(poller.client.open_window()) as window:
        monkeypatch.setattr(window, "find_overrun", lambda _: time.monotonic() + 0.9)
        claimer, lane = Claimer(poller, window, keeper), Lane(0, poller.accounts["sandbox"])
        with hold("select from resolver.accounts for update"):
            claimer.keep_distance(lane)
            assert sum(naps) == pytest.approx(0.1)
            assert not claimer.hand_over(lane)
        claimer.keep_distance(lane)
        assert claimer.hand_over(lane)
    assert sql(
        "select next_slot_at > clock_timestamp() + interval '0.5 s' from resolver.accounts where name = 'sandbox'"
    ) == [(True,)]


def test_who_waits_for_a_turn_at_an_account_that_is_locked_tries_for_a_moment(
    poller: Poller, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, monotonic = poller.accounts["sandbox"], iter(n / 2 for n in range(100))
    naps: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: next(monotonic), sleep=naps.append)
    monkeypatch.setattr(queueing, "time", clock)
    with hold("select from resolver.accounts for update"):
        assert find_errand(poller.engine, account) is None
    assert len(naps) == 1
