"""Somebody has an account's row locked, for as long as he leaves a transaction open: no claim of another waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from worker.poller import Poller
from worker.polling import poll_while_due
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
