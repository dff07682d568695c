"""Somebody has an account's row locked, for as long as he leaves a transaction open: no claim of another waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from worker import claiming, errands, suspects
from worker.claiming import Claimer
from worker.errands import find_errand
from worker.lane import Lane
from worker.leadbyte.client import PollWindow, Question
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
        claimer = open_claimer(poller, window)
        assert claimer.claim(Lane(0, account)) is None
        assert not claimer.may_claim(account)
        now[0] += CONTENDED_AGAIN_SECONDS
        assert claimer.may_claim(account)
        claimer.close([])
    assert naps == []


def open_claimer(poller: Poller, window: PollWindow) -> Claimer:
    return Claimer(poller, window, PermitKeeper(poller.engine, poller.client.timeout_seconds))


def test_the_distance_to_a_late_request_is_not_waited_for_as_long_as_somebody_likes(
    poller: Poller, hold: Hold, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    monkeypatch.setattr(claiming, "time", SimpleNamespace(monotonic=time.monotonic, sleep=naps.append))
    with closing(poller.client.open_window()) as window:
        monkeypatch.setattr(window, "find_overrun", lambda _: time.monotonic() + 0.9)
        claimer, lane = open_claimer(poller, window), Lane(0, poller.accounts["sandbox"])
        with hold("select from resolver.accounts for update"):
            claimer.keep_distance(lane)
            assert sum(naps) == pytest.approx(0.1)
        assert not is_kept(sql)
        claimer.keep_distance(lane)
        assert is_kept(sql)


def is_kept(sql: Sql) -> bool:
    half = "clock_timestamp() + interval '0.5 s'"
    return bool(sql(f"select 1 from resolver.accounts where name = 'sandbox' and next_slot_at > {half}"))


def test_an_account_that_is_locked_for_a_moment_is_handed_over_soon_and_others_at_once(
    poller: Poller, hold: Hold, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(poller.client.open_window()) as window, ExitStack() as held:
        claimer, lanes = open_claimer(poller, window), [Lane(n, one) for n, one in enumerate(poller.accounts.values())]
        for lane in lanes:
            batch = claimer.claim(lane)
            assert batch is not None
            lane.add(batch)
        held.enter_context(hold(f"select from resolver.accounts where name = '{lanes[0].account.name}' for update"))
        monkeypatch.setattr(window, "find_overrun", lambda _: time.monotonic() + 0.9)
        assert not claimer.hand_over(lanes[0])
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: held.close())
        monkeypatch.setattr(claiming, "time", clock)
        claimer.close(lanes)
    assert sql("select count(*), count(run) from resolver.claims") == [(5, 0)]


def test_a_suspect_that_finds_no_permit_keeps_none_of_another_account_waiting(
    poller: Poller, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    its_first = SimpleNamespace(shuffle=lambda names: names.sort(key=lambda name: name != "sandbox"))
    monkeypatch.setattr(suspects, "random", its_first)
    sql("update resolver.watches set crashes = 2 where queue_id like '%-1'")
    sql(
        "insert into resolver.claims (account_id, permits, lease_until)"
        " select id, 4, clock_timestamp() + interval '1 min' from resolver.accounts where name = 'sandbox'"
    )
    for _ in range(4):  # turns that are over: each ends with one suspect
        assert sum(poll_while_due(poller, lambda: False), start=Polled()).polled == 1
    ours = "select name from resolver.accounts a join resolver.watches w on w.account_id = a.id where crashes = 2"
    assert sql(ours) == [("sandbox",)]


def tell_quarter_seconds() -> Callable[[], float]:
    """A clock that goes on by a quarter of a second each time it is looked at."""
    ticks = count()
    return lambda: next(ticks) / 4


def test_who_waits_for_a_turn_at_an_account_that_is_locked_tries_for_a_moment(
    poller: Poller, hold: Hold, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, lock = poller.accounts["sandbox"], "select from resolver.accounts for update"
    naps: list[float] = []
    with hold(lock):
        monkeypatch.setattr(errands, "time", SimpleNamespace(monotonic=tell_quarter_seconds(), sleep=naps.append))
        assert find_errand(poller.engine, account) is None
    assert naps == [errands.CONTENDED_AGAIN_SECONDS] * 3
    naps.clear()
    sql("insert into resolver.claims (account_id, permits, lease_until) values (1, 4, clock_timestamp() + '1 min')")
    with ExitStack() as held:

        def lock_after_the_first_look(seconds: float) -> None:
            naps.append(seconds)
            if seconds == errands.AGAIN_SECONDS:
                held.enter_context(hold(lock))

        clock = SimpleNamespace(monotonic=tell_quarter_seconds(), sleep=lock_after_the_first_look)
        monkeypatch.setattr(errands, "time", clock)
        assert find_errand(poller.engine, account) is None
    assert naps == [errands.AGAIN_SECONDS, *[errands.CONTENDED_AGAIN_SECONDS] * 2]
    assert sql("select count(*) from resolver.claims") == [(1,)]  # the place is given back
