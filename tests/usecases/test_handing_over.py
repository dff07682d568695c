"""Turns at an account: who has polled it for a while lets another go on, and sends nothing beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from worker.poller import Poller
from worker.polling import poll_while_due
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.settlement import Polled

Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def box() -> Iterator[SandboxClient]:
    with running_sandbox(SandboxSettings()) as client:
        yield client


@pytest.fixture
def make_other(make_poller: Callable[[SandboxClient, int], Poller], box: SandboxClient) -> Callable[[], Poller]:
    """What polls in another process."""
    return lambda: make_poller(box, 4)


def poll_one_turn(poller: Poller, on_handed_over: Callable[[], None] = lambda: None) -> Polled:
    """What is claimed at once, and nothing after it."""
    looks = iter([True])
    return sum(poll_while_due(poller, lambda: next(looks, False), on_handed_over), start=Polled())


def poll_all(poller: Poller) -> Polled:
    return sum(poll_while_due(poller, lambda: True), start=Polled())


def test_another_process_goes_on_while_the_last_answers_are_waited_for(
    make_other: Callable[[], Poller], make_due: Callable[..., None], box: SandboxClient, sql: Sql
) -> None:
    make_due("sandbox-slow-#", 3)  # three seconds each
    make_due("sandbox-approved-#", 10)
    sql("update resolver.watches set next_poll_at = next_poll_at - interval '1 h' where queue_id ~ 'slow'")
    others: list[Polled] = []
    polled = poll_one_turn(make_other(), lambda: others.append(poll_all(make_other())))
    assert len(others) == 1
    assert others[0].polled + polled.polled == box.calls()["by_kind"]["poll"] == 13
    assert others[0].polled == others[0].final >= 9  # one of the four permits was for the first of these
    assert sql("select count(claim_id) from resolver.watches") == [(0,)]
    assert sql("select count(*) from resolver.claims") == [(0,)]


def test_nobody_else_asks_while_one_does(
    make_other: Callable[[], Poller], make_due: Callable[..., None], box: SandboxClient
) -> None:
    make_due("sandbox-slow-#", 2)
    others: list[Polled] = []

    def let_others_try() -> bool:
        if box.calls()["by_kind"].get("poll"):
            others.append(poll_all(make_other()))
        return True

    assert sum(poll_while_due(make_other(), let_others_try), start=Polled()).polled == 2
    assert others
    assert sum(others, start=Polled()) == Polled()
    assert box.calls()["by_kind"]["poll"] == 2


def test_what_waits_for_a_moment_at_the_turns_end_is_due_again_and_pays_nothing(
    make_other: Callable[[], Poller], make_due: Callable[..., None], sql: Sql
) -> None:
    make_due("sandbox-approved-#", 20)
    poller = make_other()
    slow = replace(poller.accounts["sandbox"], requests_per_second=5.0)
    polled = poll_one_turn(replace(poller, accounts={"sandbox": slow}))
    assert 0 < polled.polled < 20
    assert (polled.failed, polled.lost) == (0, 0)
    waiting = sql("""
        select count(*), sum(polls), sum(failures), count(claim_id) from resolver.watches
        where next_poll_at <= clock_timestamp()
    """)
    assert waiting == [(20 - polled.polled, 0, 0, 0)]
