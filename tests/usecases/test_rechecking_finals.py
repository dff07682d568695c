"""After the verdict: final leads are looked at again where that is on, on a share of the budget, harmlessly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from worker.accounts import Account
from worker.domain import classify
from worker.domain.backoff import LadderSchedule
from worker.domain.decide import RECHECK_TRIES, Policy
from worker.domain.lifecycle import State
from worker.leadbyte.client import LeadByteClient, Question
from worker.leadbyte.requests_transport import RequestsTransport
from worker.poller import Poller
from worker.polling import poll_account
from worker.replaying import replay
from worker.rescue import sweep
from worker.results import Rules, persist_replies
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.scheduling import Rechecks, plan_hints
from worker.store.journal import Chosen
from worker.store.rechecks import Recheck

Sql = Callable[..., list[tuple[Any, ...]]]
Look = Callable[..., int]

HOUR = 3600
HOW = Recheck(lasts=timedelta(days=7), every=timedelta(hours=24), share=0.1)
EVENTS = "select from_state, to_state, cause from reporting.events order by at"


@pytest.fixture(scope="module")
def box() -> Iterator[SandboxClient]:
    """Its clock goes by `advance`: a return comes three hours after the approval."""
    with running_sandbox(SandboxSettings(median_seconds=HOUR, sigma=0.1)) as client:
        yield client


@pytest.fixture
def poller(engine: Engine, box: SandboxClient) -> Iterator[Poller]:
    client = LeadByteClient(RequestsTransport(), timeout_seconds=30.0)
    account = Account("sandbox", box.base_url, "query", 100.0, 8, SecretStr("sandbox-key"))
    policy = Policy(timedelta(days=7), timedelta(hours=1), LadderSchedule())
    yield Poller(engine, client, {"sandbox": account}, policy, batch_size=50)
    client.close()


@pytest.fixture
def resolve(poller: Poller, sql: Sql) -> Callable[..., None]:
    """Track leads and poll them to their verdict, with re-checks on or off."""

    def run(*queue_ids: str, how: Recheck | None = HOW) -> None:
        for queue_id in queue_ids:
            sql("select track_lead('sandbox', %s)", queue_id)
        sql("update resolver.watches set next_poll_at = clock_timestamp() - interval '1 s'")
        poll_account(poller, poller.accounts["sandbox"])
        persist_replies(poller.engine, Rules(recheck=how))

    return run


@pytest.fixture
def start(engine: Engine, sql: Sql) -> Look:
    """One tick, with every re-check due; returns how many leads are being looked at again."""

    def run(how: Recheck | None = HOW, *, rate: float = 100.0) -> int:
        sql("update resolver.rechecks set next_recheck_at = clock_timestamp() - interval '1 s'")
        sql("delete from resolver.ticks")
        plan_hints(engine, ["sandbox"], 50, None if how is None else Rechecks(how, {"sandbox": rate}))
        ((started,),) = sql("select count(*) from resolver.watches where is_recheck")
        return int(started)

    return run


@pytest.fixture
def look_again(poller: Poller, start: Look, sql: Sql) -> Look:
    """A re-check from its start to what it led to; returns how many replies were journalled."""

    def run(how: Recheck | None = HOW) -> int:
        start(how)
        sql("update resolver.watches set next_poll_at = clock_timestamp() - interval '1 s' where is_recheck")
        ((before,),) = sql("select count(*) from resolver.replies")
        poll_account(poller, poller.accounts["sandbox"])
        persist_replies(poller.engine, Rules(recheck=how))
        ((after,),) = sql("select count(*) from resolver.replies")
        return int(after - before)

    return run


def polls_of(box: SandboxClient, queue_id: str) -> int:
    return int(box.truth()[queue_id]["polls"])


def changes_nothing(engine: Engine, sql: Sql) -> bool:
    """Whether a replay of the whole journal leads to the very same."""
    events = sql(EVENTS)
    pages = list(replay(engine, Chosen(), dry_run=False))
    return all(page.changes == () for page in pages) and sql(EVENTS) == events


def test_without_the_setting_a_final_lead_is_never_asked_about_again(
    engine: Engine, resolve: Callable[..., None], look_again: Look, box: SandboxClient, sql: Sql
) -> None:
    resolve("sandbox-returned-off", how=None)
    box.advance(4 * HOUR)
    sweep(engine)
    look_again(None)
    assert polls_of(box, "sandbox-returned-off") == 1
    assert sql("select count(*) from resolver.rechecks") == [(0,)]
    assert sql("select state from reporting.leads") == [("approved",)]


def test_a_return_is_seen_and_the_first_resolution_stands(
    engine: Engine, resolve: Callable[..., None], look_again: Look, box: SandboxClient, sql: Sql
) -> None:
    resolve("sandbox-returned-1")
    ((resolved_at, revenue),) = sql("select resolved_at, revenue from reporting.leads")
    assert revenue > 0
    box.advance(4 * HOUR)
    assert look_again() == 1
    lead = "select state, resolved_at, sold, revenue from reporting.leads"
    assert sql(lead) == [("returned", resolved_at, False, 0)]
    ((_, _, cause),) = sql(f"{EVENTS} desc limit 1")
    assert cause.startswith(f"LeadByte says: Returned; revenue {revenue:.2f} → 0.00 (")
    assert "Sold → Returned" in cause
    assert changes_nothing(engine, sql)
    assert look_again() == 0
    assert polls_of(box, "sandbox-returned-1") == 3


def test_an_answer_that_says_the_same_leaves_no_trace_but_the_next_date(
    resolve: Callable[..., None], look_again: Look, box: SandboxClient, sql: Sql
) -> None:
    resolve("sandbox-approved-1")
    events = sql(EVENTS)
    assert look_again() == 0
    assert polls_of(box, "sandbox-approved-1") == 2
    assert sql("select count(*) from resolver.watches") == [(0,)]
    assert sql("select polls, failures from resolver.leads") == [(2, 0)]
    assert sql(EVENTS) == events
    ((hours, days),) = sql(
        "select extract(epoch from next_recheck_at - clock_timestamp()) / 3600,"
        " extract(epoch from recheck_until - clock_timestamp()) / 86400 from resolver.rechecks"
    )
    assert 21 < hours < 27
    assert 6.9 < days < 7.1


def test_a_regression_stays_visible_and_is_told_once(
    poller: Poller, resolve: Callable[..., None], look_again: Look, sql: Sql
) -> None:
    resolve("sandbox-regress-1")
    assert look_again() == 1
    # It is final and Queued in turns: somebody else takes the turn that would be final.
    list(poller.client.poll(poller.accounts["sandbox"], [Question(0, "sandbox-regress-1")], 1))
    assert look_again() == 0
    regressions = [row for row in sql(EVENTS) if row[2].startswith("regressed: ")]
    assert regressions == [("approved", "approved", "regressed: LeadByte says: Queued; kept approved")]
    assert sql("select state from reporting.leads") == [("approved",)]


@pytest.mark.parametrize("fault", ["notfound", "unknownstatus"])
def test_an_odd_answer_ends_the_recheck_and_leaves_the_lead_as_it_was(
    resolve: Callable[..., None], look_again: Look, box: SandboxClient, sql: Sql, fault: str
) -> None:
    resolve(f"sandbox-approved-{fault}")
    lead = sql("select state, resolved_at, revenue, state_reason from reporting.leads")
    box.script(f"sandbox-approved-{fault}", fault)
    sql("update resolver.leads set tracked_at = tracked_at - interval '30 days'")
    assert look_again() == (fault == "unknownstatus")
    assert look_again() == 0
    box.clear_script()
    assert sql("select state, resolved_at, revenue, state_reason from reporting.leads") == lead
    assert sql("select count(*) from resolver.watches") == [(0,)]
    assert sql("select count(*) from resolver.rechecks where next_recheck_at > now()") == [(1,)]


def test_a_recheck_that_fails_is_tried_a_few_times_and_put_off_and_never_shows_as_open_or_overdue(
    poller: Poller, resolve: Callable[..., None], start: Look, box: SandboxClient, sql: Sql
) -> None:
    resolve("sandbox-approved-failing")
    box.script("sandbox-approved-failing", "500")
    assert start() == 1
    for left in range(RECHECK_TRIES - 1, -1, -1):
        sql("update resolver.watches set next_poll_at = clock_timestamp() - interval '1 h'")
        assert sql("select open, due, oldest_overdue_seconds from reporting.pipeline") == [(0, 0, 0.0)]
        poll_account(poller, poller.accounts["sandbox"])
        assert sql("select count(*) from resolver.watches") == [(min(left, 1),)]
    box.clear_script()
    assert sql("select state, polls, failures from reporting.leads") == [("approved", 4, 3)]
    assert sql("select count(*) from resolver.rechecks where next_recheck_at > now()") == [(1,)]


def test_no_more_is_started_than_the_share_of_the_budget_and_nothing_twice(
    resolve: Callable[..., None], start: Look, sql: Sql
) -> None:
    resolve(*(f"sandbox-approved-many{n}" for n in range(30)))
    assert sql("select count(*) from resolver.rechecks") == [(30,)]
    assert start(rate=10.0) == 10  # a tenth of ten a second, for ten seconds
    ((spread,),) = sql("select extract(epoch from max(next_poll_at) - min(next_poll_at))::float from resolver.watches")
    assert 8.9 < spread < 9.1
    assert start(rate=10.0) == 10
    sql("delete from resolver.watches")
    assert start(rate=0.5) == 1  # one in twenty seconds
    sql("delete from resolver.watches")
    sql("update resolver.accounts set rate_share = 0.5")  # LeadByte is strained
    assert start(rate=10.0) == 5


def test_the_share_holds_however_often_somebody_ticks(
    engine: Engine, resolve: Callable[..., None], start: Look, sql: Sql
) -> None:
    resolve(*(f"sandbox-approved-often{n}" for n in range(5)))
    assert start(rate=1.0) == 1
    sql("delete from resolver.watches")
    sql("delete from resolver.ticks where duty = 'tick'")
    plan_hints(engine, ["sandbox"], 50, Rechecks(HOW, {"sandbox": 1.0}))
    assert sql("select count(*) from resolver.watches") == [(0,)]


@pytest.mark.parametrize("trouble", ["backlog", "pause"])
def test_open_leads_and_pauses_come_first(resolve: Callable[..., None], start: Look, sql: Sql, trouble: str) -> None:
    resolve("sandbox-approved-later")
    if trouble == "pause":
        sql("update resolver.accounts set pause_kind = 'key', paused_until = now() + interval '1 h'")
    else:
        sql("select track_lead('sandbox', 'sandbox-queued-' || n) from generate_series(1, 20) n")
        sql("update resolver.watches set next_poll_at = now() - interval '1 s'")
    assert start(rate=1.0) == 0


def test_finals_from_before_the_setting_are_enrolled_by_the_sweep_and_forgotten_when_it_is_off_again(
    engine: Engine, resolve: Callable[..., None], look_again: Look, box: SandboxClient, sql: Sql
) -> None:
    resolve("sandbox-returned-late", "sandbox-approved-old", how=None)
    old = "where queue_id = 'sandbox-approved-old'"
    sql(f"update resolver.leads set resolved_at = resolved_at - interval '8 days' {old}")
    sweep(engine, HOW)
    sweep(engine, HOW)
    assert sql("select l.queue_id from resolver.rechecks join resolver.leads l on l.id = lead_id") == [
        ("sandbox-returned-late",)
    ]
    box.advance(4 * HOUR)
    assert look_again() == 1
    assert sql("select state from reporting.leads where queue_id = 'sandbox-returned-late'") == [("returned",)]
    sweep(engine)
    assert sql("select count(*) from resolver.rechecks") == [(0,)]
    sweep(engine, replace(HOW, lasts=timedelta(days=30)))
    assert sql("select count(*) from resolver.rechecks") == [(2,)]


def test_a_lead_is_left_alone_once_its_days_are_over(resolve: Callable[..., None], start: Look, sql: Sql) -> None:
    resolve("sandbox-approved-over")
    sql("update resolver.rechecks set recheck_until = now() - interval '1 s'")
    assert start() == 0
    assert sql("select count(*) from resolver.rechecks") == [(0,)]


def test_a_recheck_that_kills_its_workers_is_dropped_and_the_lead_stays_final(
    engine: Engine, resolve: Callable[..., None], start: Look, sql: Sql
) -> None:
    resolve("sandbox-approved-poison")
    reason = sql("select state, state_reason from resolver.leads")
    start()
    sql("update resolver.watches set crashes = 2, claim_id = 1, lease_until = clock_timestamp()")
    assert sweep(engine, HOW).parked == 0
    assert sql("select count(*) from resolver.watches") == [(0,)]
    assert sql("select state, state_reason from resolver.leads") == reason


def test_a_lead_that_becomes_final_by_a_replay_is_enrolled(
    engine: Engine, resolve: Callable[..., None], sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve("sandbox-unknownstatus-replayed")
    assert sql("select count(*) from resolver.rechecks") == [(0,)]
    words = {**classify.STATUS_WORDS, "transmogrified": State.APPROVED}
    monkeypatch.setattr(classify, "STATUS_WORDS", words)
    assert [len(page.changes) for page in replay(engine, Chosen(), Rules(recheck=HOW), dry_run=False)] == [1]
    assert sql("select count(*) from resolver.rechecks") == [(1,)]
