"""A run of polling keeps its permits for as long as it lasts, and sends nothing more when it has lost them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest

from worker import permits
from worker.asking import Batch
from worker.clock import read_sleepless
from worker.errors import DatabaseUnavailable
from worker.poller import Poller
from worker.polling import poll_while_due
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.settlement import Polled
from worker.store.budget import Budget
from worker.store.claims import Claim, claim_due_leads
from worker.store.db import read_clock, transaction
from worker.store.settling import Release

Sql = Callable[..., list[tuple[Any, ...]]]
PATIENCE = 60.0


@pytest.fixture
def box() -> Iterator[SandboxClient]:
    with running_sandbox(SandboxSettings()) as client:
        yield client


@pytest.fixture
def poller(make_poller: Callable[[SandboxClient, int], Poller], box: SandboxClient) -> Poller:
    return make_poller(box, 2)


@pytest.fixture
def _backlog(make_due: Callable[..., None], sql: Sql) -> None:
    """Two leads that take both permits for three seconds, then ten that wait: the ends of a claim are asked first."""
    make_due("sandbox-slow-#", 1)
    make_due("sandbox-approved-#", 10)
    make_due("sandbox-slow-last-#", 1)
    sql("update resolver.watches set next_poll_at = next_poll_at - interval '1 h' where queue_id ~ 'slow'")


@pytest.fixture
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permits, "RENEW_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(permits, "AFTER_A_FAULT_SECONDS", 0.05)


@contextmanager
def meanwhile(box: SandboxClient, do: Callable[[], None]) -> Iterator[None]:
    """Do it once, while requests are under way."""

    def wait_and_do() -> None:
        until = time.monotonic() + PATIENCE
        while not box.calls()["by_kind"].get("poll") and time.monotonic() < until:
            time.sleep(0.01)
        do()

    thread = Thread(target=wait_and_do)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def poll_all(poller: Poller) -> Polled:
    return sum(poll_while_due(poller, lambda: True), start=Polled())


@pytest.mark.usefixtures("_looks_often")
def test_permits_are_renewed_while_answers_are_waited_for(
    poller: Poller, box: SandboxClient, make_due: Callable[..., None], sql: Sql
) -> None:
    left: list[timedelta] = []

    def look() -> None:
        sql("update resolver.claims set lease_until = clock_timestamp() + interval '5 s'")
        time.sleep(1)  # of the three that the answers take
        left.extend(one for (one,) in sql("select lease_until - clock_timestamp() from resolver.claims"))

    make_due("sandbox-slow-#", 2)
    with meanwhile(box, look):
        assert poll_all(poller).polled == 2
    assert left
    assert min(left) > timedelta(seconds=10)


@pytest.mark.usefixtures("_looks_often", "_backlog")
def test_a_run_that_lost_its_permits_sends_nothing_more_under_them(
    poller: Poller, box: SandboxClient, sql: Sql
) -> None:
    # As if it had been frozen: its permits went to somebody else, who has them for ever.
    def take_them_away() -> None:
        sql("update resolver.claims set lease_until = clock_timestamp()")
        sql("""
            insert into resolver.claims (account_id, permits, lease_until)
            select id, 2, clock_timestamp() + interval '1 min' from resolver.accounts
        """)

    with meanwhile(box, take_them_away):
        assert poll_all(poller).polled == 2
    assert box.calls()["by_kind"]["poll"] == 2
    assert sql("select count(*) from resolver.watches where claim_id is null and next_poll_at <= now()") == [(10,)]


@pytest.mark.usefixtures("_looks_often", "_backlog")
def test_a_run_without_permits_any_more_claims_anew(poller: Poller, box: SandboxClient, sql: Sql) -> None:
    def let_them_lapse() -> None:
        sql("update resolver.claims set lease_until = clock_timestamp()")

    with meanwhile(box, let_them_lapse):
        assert poll_all(poller).final == 12
    assert box.calls()["by_kind"]["poll"] == 12
    ((claims,),) = sql("select count(distinct claim_id) from resolver.replies where claim_id <> 1")
    assert claims > 0  # the first one had all twelve
    assert sql("select count(*) from resolver.claims where lease_until > clock_timestamp()") == [(0,)]


@pytest.mark.parametrize(("fault_seconds", "asked"), [(1.0, 12), (3600.0, 2)])
@pytest.mark.usefixtures("_looks_often", "_backlog")
def test_permits_that_cannot_be_renewed_are_used_for_a_while_and_then_no_more(
    poller: Poller,
    box: SandboxClient,
    monkeypatch: pytest.MonkeyPatch,
    fault_seconds: float,
    asked: int,
) -> None:
    def fail(*_: object) -> set[int]:
        raise DatabaseUnavailable("planted")

    monkeypatch.setattr(permits, "renew_permits", fail)

    def jump() -> None:
        monkeypatch.setattr(permits, "read_sleepless", lambda: read_sleepless() + fault_seconds)

    looks = iter([True])  # once: what is handed back is not claimed again
    with meanwhile(box, jump):
        may_go_on = lambda: next(looks, asked == 12)  # noqa: E731
        assert sum(poll_while_due(poller, may_go_on), start=Polled()).polled == asked
    assert box.calls()["by_kind"]["poll"] == asked


@pytest.mark.parametrize(("is_gone", "has_lost"), [(False, False), (True, True)])
def test_permits_that_were_to_pass_on_and_had_lapsed_are_told_of(
    poller: Poller, make_due: Callable[..., None], sql: Sql, *, is_gone: bool, has_lost: bool
) -> None:
    make_due("sandbox-approved-#", 1)
    account = poller.accounts["sandbox"]
    with transaction(poller.engine) as connection:
        now = read_clock(connection)
        claim = claim_due_leads(connection, account.name, Budget(10.0, 2), now, 1)
    assert isinstance(claim, Claim)
    ((heir,),) = sql(
        "insert into resolver.claims (account_id, permits, lease_until)"
        " select account_id, 0, lease_until from resolver.claims returning id"
    )
    if is_gone:
        sql("delete from resolver.claims where id = %s", claim.id)  # as the sweep does with one that has run out
    settled = poller.settle(Batch(account, claim, now, time.monotonic()), [], Release(0, 1, heir, 1))
    assert settled.has_lost_permits == has_lost
