"""Accounts with a request every few seconds: claims of them find something, and nobody comes too soon after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker import operations
from worker.accounts import Account
from worker.claiming import ANSWERED_WITHIN_SECONDS, CLAIM_AGAIN_SECONDS, Claimer
from worker.lane import Lane
from worker.leadbyte.client import PollWindow
from worker.leadbyte.pace import WINDOW_SECONDS
from worker.permits import PermitKeeper
from worker.poller import Poller
from worker.polling import poll_while_due
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.settlement import Polled
from worker.store.budget import PACE_HORIZON

Sql = Callable[..., list[tuple[Any, ...]]]
SLOW, FAST = 0.2, 50.0

# How a request leaves is for others to tell.
pytestmark = pytest.mark.parametrize("make_poller", ["curl"], indirect=True)


class Window:
    """Stands in for the window, in which nothing is left to send; others may go on from `free_at` on."""

    free_at: float | None = None
    is_quiet = True

    def look_at(self, _: int) -> SimpleNamespace:
        return SimpleNamespace(is_quiet=self.is_quiet)

    def find_overrun(self, _: int) -> float | None:
        return self.free_at

    def __len__(self) -> int:
        return 0


@pytest.fixture
def poller(make_poller: Callable[[SandboxClient, int], Poller]) -> Iterator[Poller]:
    with running_sandbox(SandboxSettings(slow_seconds=1.5)) as box:
        yield make_poller(box, 4)


@pytest.fixture
def window() -> Window:
    return Window()


@pytest.fixture
def claimer(poller: Poller, window: Window) -> Iterator[Claimer]:
    claimer = Claimer(poller, cast("PollWindow", window), PermitKeeper(poller.engine, poller.client.timeout_seconds))
    yield claimer
    claimer.close([])


@pytest.fixture
def ask_at(poller: Poller) -> Callable[[float], Account]:
    """The account, with so many requests a second."""
    return lambda rate: replace(poller.accounts["sandbox"], requests_per_second=rate)


def test_a_spent_budget_is_not_claimed_of_before_it_bears_more(
    claimer: Claimer,
    ask_at: Callable[[float], Account],
    make_due: Callable[..., None],
    pass_time: Callable[[float], None],
) -> None:
    make_due("sandbox-approved-#", 3)
    account = ask_at(SLOW)
    assert claimer.list_claimable(["sandbox"], is_idle=True) == {"sandbox"}
    assert claimer.claim(Lane(0, account)) is not None
    claimer.note_settled(account)
    seconds = 1 / SLOW - PACE_HORIZON.total_seconds()
    for _ in range(10):
        assert not claimer.may_claim(account)
        assert claimer.list_claimable(["sandbox"], is_idle=False) == set()
        pass_time(seconds / 10)
    pass_time(0.2)  # a little of the budget is left for the way to LeadByte
    assert claimer.may_claim(account)


@pytest.mark.parametrize(("rate", "seconds"), [(SLOW, ANSWERED_WITHIN_SECONDS), (FAST, 0.0)])
def test_an_account_is_handed_over_at_once_only_where_its_next_moment_is_near(
    claimer: Claimer,
    ask_at: Callable[[float], Account],
    pass_time: Callable[[float], None],
    rate: float,
    seconds: float,
) -> None:
    lane = Lane(0, ask_at(rate))
    assert claimer.may_hand_over(lane) == (not seconds)
    pass_time(seconds)
    assert claimer.may_hand_over(lane)


@pytest.mark.parametrize(
    ("rate", "free_in", "kept"),
    [(SLOW, 4.0, 4.0), (SLOW, math.inf, 1 / SLOW), (FAST, 0.5, 0.5), (FAST, math.inf, WINDOW_SECONDS)],
)
def test_nobody_comes_sooner_than_the_budget_says_after_a_request_that_left_late(
    claimer: Claimer,
    window: Window,
    ask_at: Callable[[float], Account],
    make_due: Callable[..., None],
    pass_time: Callable[[float], None],
    sql: Sql,
    rate: float,
    free_in: float,
    kept: float,
) -> None:
    del pass_time  # stands still
    make_due("sandbox-approved-#", 1)
    window.free_at = free_in
    claimer.keep_distance(Lane(0, ask_at(rate)))
    ((wait,),) = sql("select extract(epoch from next_slot_at - transaction_timestamp()) from resolver.accounts")
    assert kept - 0.5 < wait <= 1.04 * kept


def test_a_pause_from_outside_stops_what_has_its_moment_already(
    poller: Poller,
    ask_at: Callable[[float], Account],
    make_due: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    sql: Sql,
) -> None:
    make_due("sandbox-slow-#", 3)  # answered when all have had their moments
    pauses: list[str] = []
    add = PollWindow.add

    def pause_when_claimed(window: PollWindow, *its: Any) -> None:
        add(window, *its)
        if not pauses:
            pauses.append("an operator's")
            operations.pause(poller.engine, "sandbox", "for a while")

    monkeypatch.setattr(PollWindow, "add", pause_when_claimed)
    asking = replace(poller, accounts={"sandbox": ask_at(2.0)})
    polled = sum(poll_while_due(asking, lambda: True), start=Polled())
    assert pauses
    assert polled.polled <= 1
    assert sql("select count(claim_id) from resolver.watches") == [(0,)]


PAUSES = {
    "an operator's": ("'operator'", "'9999-12-31 00:00+00'"),
    "LeadByte's": ("'throttled'", "clock_timestamp() + interval '1 min'"),
    "the day's budget, which has counted them": ("'budget'", "clock_timestamp() + interval '1 h'"),
    "over": ("'throttled'", "clock_timestamp() - interval '1 s'"),
}


@pytest.mark.parametrize(
    ("pause", "rate", "is_seen"),
    [
        ("an operator's", SLOW, True),
        ("LeadByte's", SLOW, True),
        ("the day's budget, which has counted them", SLOW, False),
        ("over", SLOW, False),
        ("LeadByte's", FAST, False),
    ],
)
def test_pauses_are_looked_for_where_moments_are_far_and_now_and_then(
    claimer: Claimer,
    window: Window,
    ask_at: Callable[[float], Account],
    make_due: Callable[..., None],
    pass_time: Callable[[float], None],
    sql: Sql,
    pause: str,
    rate: float,
    *,
    is_seen: bool,
) -> None:
    make_due("sandbox-approved-#", 1)
    window.is_quiet = False
    lane = Lane(0, ask_at(rate))
    pass_time(1.0)
    assert claimer.list_paused([lane]) == []
    kind, until = PAUSES[pause]
    sql(f"update resolver.accounts set pause_kind = {kind}, paused_until = {until}, pause_reason = 'a test'")
    pass_time(CLAIM_AGAIN_SECONDS)
    assert claimer.list_paused([lane]) == [lane] * is_seen
    assert claimer.list_paused([lane]) == []  # not as often as answers come
    pass_time(CLAIM_AGAIN_SECONDS)
    assert claimer.list_paused([lane]) == [lane] * is_seen
    window.is_quiet = True  # nothing is left to stop
    pass_time(CLAIM_AGAIN_SECONDS)
    assert claimer.list_paused([lane]) == []


@pytest.mark.parametrize(("longer", "is_stopped"), [(timedelta(0), False), (timedelta(seconds=1), True)])
def test_a_probe_asks_under_the_pause_that_it_is_for_and_no_longer_one(
    claimer: Claimer,
    window: Window,
    ask_at: Callable[[float], Account],
    make_due: Callable[..., None],
    pass_time: Callable[[float], None],
    sql: Sql,
    longer: timedelta,
    *,
    is_stopped: bool,
) -> None:
    make_due("sandbox-approved-#", 1)
    sql("""
        update resolver.accounts set pause_kind = 'throttled', pause_reason = 'a test',
            paused_until = clock_timestamp() - interval '1 s'
    """)
    lane = Lane(0, ask_at(SLOW))
    probe = claimer.claim(lane)
    assert probe is not None
    lane.add(probe)
    sql("update resolver.accounts set paused_until = paused_until + %s", longer)
    window.is_quiet = False
    pass_time(CLAIM_AGAIN_SECONDS)
    assert claimer.list_paused([lane]) == [lane] * is_stopped


def test_all_that_a_days_budget_has_counted_is_asked(
    poller: Poller, ask_at: Callable[[float], Account], make_due: Callable[..., None]
) -> None:
    make_due("sandbox-slow-#", 20)
    account = replace(ask_at(3.0), requests_per_day=6, concurrency=20)
    polled = sum(poll_while_due(replace(poller, accounts={"sandbox": account}), lambda: True), start=Polled())
    assert polled.polled == 6
