"""Turns at an account: who has polled it for a while lets another go on, and sends nothing beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Connection

from worker import claiming, suspects
from worker.errors import DatabaseUnavailable, LeadResolverError
from worker.leadbyte.client import PollWindow
from worker.permits import PermitKeeper
from worker.poller import Poller
from worker.polling import poll_while_due
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.settlement import Polled, Settled
from worker.store.claims import claim_due_leads
from worker.store.handing_over import hand_over
from worker.store.suspects import claim_suspect

Sql = Callable[..., list[tuple[Any, ...]]]

# What is asked of a transport here, the conformance suite asks of both; libcurl works in our thread, and is held up.
pytestmark = pytest.mark.parametrize("make_poller", ["curl"], indirect=True)


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
    make_due("sandbox-slow-#", 2)  # three seconds each
    make_due("sandbox-approved-#", 10)
    make_due("sandbox-slow-last-#", 1)
    sql("update resolver.watches set next_poll_at = next_poll_at - interval '1 h' where queue_id ~ 'slow'")
    others: list[Polled] = []
    polled = poll_one_turn(make_other(), lambda: others.append(poll_all(make_other())))
    assert len(others) == 1
    assert others[0].polled + polled.polled == box.calls()["by_kind"]["poll"] == 13
    assert others[0].polled == others[0].final >= 9  # one of the four permits was for the first of these
    assert sql("select count(claim_id) from resolver.watches") == [(0,)]
    assert sql("select count(*) from resolver.claims") == [(0,)]


def test_who_comes_next_finds_the_permits_of_what_was_answered(
    make_other: Callable[[], Poller], make_due: Callable[..., None]
) -> None:
    make_due("sandbox-slow-#", 1)
    make_due("sandbox-approved-#", 3)
    others: list[Polled] = []

    def let_another_come() -> None:
        make_due("sandbox-rejected-5-#", 10)
        others.append(poll_all(make_other()))

    poll_one_turn(make_other(), let_another_come)
    assert len(others) == 1
    assert others[0].polled >= 10


def test_an_account_is_handed_over_before_its_last_answers_are_written_down(
    make_other: Callable[[], Poller], make_due: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_handed_over = threading.Event()
    settle = Poller.settle

    def wait_and_settle(*its: Any) -> Settled:
        assert is_handed_over.wait(30.0)
        return settle(*its)

    monkeypatch.setattr(Poller, "settle", wait_and_settle)
    make_due("sandbox-slow-#", 1)
    make_due("sandbox-approved-#", 2)
    assert poll_one_turn(make_other(), is_handed_over.set).polled == 3


def test_nobody_else_asks_while_one_does_however_much_is_due(
    make_other: Callable[[], Poller], make_due: Callable[..., None], box: SandboxClient
) -> None:
    make_due("sandbox-slow-#", 2)  # half of the permits
    others: list[Polled] = []

    def let_others_try() -> bool:
        if box.calls()["by_kind"].get("poll") and not others:
            make_due("sandbox-approved-#", 10)
            others.append(poll_all(make_other()))
            return False  # what is due now is not for us to claim either
        return True

    assert sum(poll_while_due(make_other(), let_others_try), start=Polled()).polled == 2
    assert others == [Polled()]
    assert poll_all(make_other()).polled >= 10


def test_a_run_that_ends_by_an_error_leaves_its_account_to_others(
    make_other: Callable[[], Poller], make_due: Callable[..., None]
) -> None:
    make_due("sandbox-slow-#", 2)
    make_due("sandbox-approved-#", 10)
    looks = iter([True])

    def fail() -> bool:
        if next(looks, False):
            return True
        raise LeadResolverError("planted")

    with pytest.raises(LeadResolverError, match="planted"):
        list(poll_while_due(replace(make_other(), batch_size=2), fail))
    assert poll_all(make_other()).polled >= 8


@pytest.fixture
def give_to_another(make_due: Callable[..., None], sql: Sql) -> Callable[[bool], None]:
    """One due lead, of an account that another run of polling has or not."""

    def give(is_anothers: bool) -> None:
        make_due("sandbox-approved-#", 1)
        sql("update resolver.claims set run = null")
        if is_anothers:
            sql("""
                insert into resolver.claims (account_id, permits, lease_until, run)
                select id, 0, clock_timestamp() + interval '20 s', 77 from resolver.accounts
            """)

    return give


@pytest.mark.parametrize(
    ("begun", "look_every"),
    [
        (0.0, claiming.FOLLOW_SECONDS),
        (1.0, claiming.CLAIM_AGAIN_SECONDS),
    ],
    ids=["who hands over one account hands over the others next", "it is another's for longer"],
)
def test_a_run_follows_closely_at_first_where_another_has_the_account(
    make_other: Callable[[], Poller],
    give_to_another: Callable[[bool], None],
    pass_time: Callable[[float], None],
    *,
    begun: float,
    look_every: float,
) -> None:
    give_to_another(True)
    poller = make_other()
    keeper = PermitKeeper(poller.engine, poller.client.timeout_seconds)
    claimer = claiming.Claimer(poller, poller.client.open_window(lambda _: False), keeper)
    pass_time(begun)
    assert claimer.list_claimable(["sandbox"], is_idle=True) == set()
    give_to_another(False)
    pass_time(look_every - 0.01)
    assert claimer.list_claimable(["sandbox"], is_idle=False) == set()
    pass_time(0.01)
    assert claimer.list_claimable(["sandbox"], is_idle=False) == {"sandbox"}


def note_calls(monkeypatch: pytest.MonkeyPatch, module: ModuleType, claim: Callable[..., Any]) -> list[str]:
    """Each claim that this module makes from now on: of which account."""
    noted: list[str] = []

    def claim_and_note(connection: Connection, account: str, *rest: Any) -> Any:
        noted.append(account)
        return claim(connection, account, *rest)

    monkeypatch.setattr(module, claim.__name__, claim_and_note)
    return noted


def test_of_hundreds_of_accounts_only_those_with_due_leads_are_claimed_of(
    make_other: Callable[[], Poller], make_due: Callable[..., None], monkeypatch: pytest.MonkeyPatch, sql: Sql
) -> None:
    claimed = note_calls(monkeypatch, claiming, claim_due_leads)
    make_due("sandbox-approved-#", 30)
    sql("insert into resolver.accounts (name) select 'idle-' || n from generate_series(1, 200) n")
    poller = make_other()
    ours = poller.accounts["sandbox"]
    idle = {f"idle-{n}": replace(ours, name=f"idle-{n}") for n in range(1, 201)}
    assert poll_all(replace(poller, accounts={**idle, "sandbox": ours})).final == 30
    assert set(claimed) == {"sandbox"}


def test_suspects_are_claimed_where_there_are_some_and_nobody_else_is_disturbed_for_them(
    make_other: Callable[[], Poller], make_due: Callable[..., None], monkeypatch: pytest.MonkeyPatch, sql: Sql
) -> None:
    claimed = note_calls(monkeypatch, suspects, claim_suspect)
    make_due("sandbox-approved-#", 3)
    assert poll_all(make_other()).final == 3
    assert not claimed
    make_due("sandbox-rejected-5-#", 3)
    sql("update resolver.watches set crashes = 2 where queue_id like '%-5-3'")
    poll_all(make_other())
    assert claimed == ["sandbox"] * 2  # the second finds no more


def test_a_suspect_is_asked_about_even_where_the_turn_is_over_and_no_more_than_one(
    make_other: Callable[[], Poller], make_due: Callable[..., None], sql: Sql
) -> None:
    make_due("sandbox-approved-#", 5)
    sql("update resolver.watches set crashes = 2 where queue_id in ('sandbox-approved-1', 'sandbox-approved-2')")
    assert poll_one_turn(make_other()).final == 4
    assert poll_one_turn(make_other()).final == 1


def test_a_suspect_has_its_turn_while_another_run_goes_on_with_all_permits(
    make_other: Callable[[], Poller], make_due: Callable[..., None], sql: Sql
) -> None:
    make_due("sandbox-slow-#", 4)  # three seconds each: all permits of the run that asks about them
    make_due("sandbox-approved-9-#", 1)
    sql("update resolver.watches set crashes = 2 where queue_id like '%-9-1'")
    sql("update resolver.watches set next_poll_at = next_poll_at - interval '1 h' where queue_id ~ 'slow'")
    is_over, others, until = threading.Event(), list[threading.Thread](), time.monotonic() + 60
    seen: list[tuple[Any, ...]] = []

    def poll_beside() -> None:
        while not seen and time.monotonic() < until:
            poll_all(make_other())
            seen.extend(sql("select crashes from resolver.watches where queue_id like '%-9-1' and crashes = 0"))
        is_over.set()

    def go_on_for_long() -> bool:
        if not others and sql("select 1 from resolver.claims where permits = 4"):
            others.append(threading.Thread(target=poll_beside))
            others[0].start()
        if goes_on := time.monotonic() < until and not is_over.is_set():
            make_due("sandbox-approved-#", 100)  # a lasting backlog
        return goes_on

    polled = sum(poll_while_due(make_other(), go_on_for_long), start=Polled())
    others[0].join()
    assert polled.polled > 4
    assert seen == [(0,)]  # while the other still went on
    assert sql(
        "select crashes, state from resolver.watches join resolver.leads on id = lead_id"
        " where watches.queue_id like '%-9-1'"
    ) == [(0, "queued")]


def test_who_waits_for_answers_wakes_as_often_as_others_accounts_are_looked_at(
    make_other: Callable[[], Poller], make_due: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def take(window: PollWindow, seconds: float) -> Any:
        waits.append(seconds)
        return take_answers(window, seconds)

    take_answers = PollWindow.take
    monkeypatch.setattr(PollWindow, "take", take)
    make_due("sandbox-slow-#", 1)  # three seconds
    poll_all(make_other())
    assert (waits[0], waits[-1]) == (claiming.FOLLOW_SECONDS, claiming.CLAIM_AGAIN_SECONDS)


def test_an_account_that_could_not_be_handed_over_is_tried_again_and_announced_once(
    make_other: Callable[[], Poller], make_due: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "AFTER_A_FAULT_SECONDS", 0.1)
    tries: list[int] = []

    def fail_once(connection: Connection, claims: Collection[int]) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise DatabaseUnavailable("planted")
        hand_over(connection, claims)

    monkeypatch.setattr(claiming, "hand_over", fail_once)
    make_due("sandbox-slow-#", 3)
    announced: list[int] = []
    assert poll_one_turn(make_other(), lambda: announced.append(len(tries))).polled == 3
    assert announced == [2]


@pytest.mark.parametrize(
    ("pattern", "goes_on"),
    [("sandbox-approved-#", True), ("sandbox-approved-#", False), ("sandbox-slow-#", False)],
    ids=["nothing else was due", "the turn was over", "answers are awaited"],
)
def test_nobody_comes_too_soon_after_a_request_that_left_late(
    make_other: Callable[[], Poller], make_due: Callable[..., None], box: SandboxClient, pattern: str, *, goes_on: bool
) -> None:
    gap = 0.28  # the second moment is reserved with the first, and comes after a first look at the answers
    poller = make_other()
    slow = replace(poller, accounts={"sandbox": replace(poller.accounts["sandbox"], requests_per_second=1 / gap)})
    pauses = iter([0.0, 2 * gap])  # over libcurl, the second request leaves that much later

    def hold_up() -> bool:
        pause = next(pauses, None)
        time.sleep(pause or 0.0)
        return goes_on or pause == 0.0

    def let_another_come() -> None:
        if not others:
            make_due("sandbox-rejected-5-#", 1)
            others.append(poll_all(slow))

    others: list[Polled] = []
    make_due(pattern, 2)
    list(poll_while_due(slow, hold_up, let_another_come))
    let_another_come()
    instants = [at for at, _, _ in box.calls(instants=True)["instants"]]
    assert len(instants) >= 3
    assert instants[2] - instants[1] > 0.9 * gap


def test_what_waits_for_a_moment_at_the_turns_end_is_due_as_before_and_pays_nothing(
    make_other: Callable[[], Poller], make_due: Callable[..., None], sql: Sql
) -> None:
    make_due("sandbox-approved-#", 20)
    sql("update resolver.watches set crashes = 1, last_note = 'as before'")
    before: dict[Any, Any] = dict(sql("select lead_id, next_poll_at from resolver.watches"))
    poller = make_other()
    slow = replace(poller.accounts["sandbox"], requests_per_second=5.0)
    polled = poll_one_turn(replace(poller, accounts={"sandbox": slow}))
    assert 0 < polled.polled < 20
    assert (polled.failed, polled.lost) == (0, 0)
    waiting = sql("select lead_id, next_poll_at from resolver.watches where next_poll_at <= clock_timestamp()")
    assert waiting
    assert dict(waiting).items() <= before.items()
    counters = sql("""
        select distinct polls, failures, crashes, last_note, claim_id from resolver.watches
        where next_poll_at <= clock_timestamp()
    """)
    assert counters == [(0, 0, 1, "as before", None)]
