"""The tick: as many hints as there is due work, whoever ticks and however often."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from worker import operations, scheduling
from worker.scheduling import MOST_POLL_HINTS, Hints, PollTurn, Seldom, plan_hints
from worker.store.accounts import PauseKind, pause_account
from worker.store.db import read_clock, transaction
from worker.store.ticks import read_last

Sql = Callable[..., list[tuple[Any, ...]]]


def make_due(sql: Sql, count: int, account: str = "acme") -> None:
    sql("select track_lead(%s, 'lead-' || lpad(n::text, 6, '0')) from generate_series(1, %s) n", account, count)
    sql("update resolver.watches set next_poll_at = clock_timestamp() - interval '1 s'")


def tick(engine: Engine, sql: Sql, *configured: str, batch: int = 10) -> Hints:
    sql("delete from resolver.ticks where duty = 'tick'")
    return plan_hints(engine, configured or ["acme"], batch)


def test_nothing_due_calls_for_no_poll(engine: Engine, sql: Sql) -> None:
    assert tick(engine, sql) == Hints(sweep=True, learn=True)


@pytest.mark.parametrize(("accounts", "polls"), [(1, 1), (3, 3), (50, MOST_POLL_HINTS)])
def test_a_tick_hints_once_at_each_account_with_due_leads_up_to_a_bound(
    engine: Engine, sql: Sql, accounts: int, polls: int
) -> None:
    names = [f"account-{n}" for n in range(accounts)]
    for name in names:
        make_due(sql, 35, name)
    make_due(sql, 1, "idle")
    sql(
        "update resolver.watches w set next_poll_at = null from resolver.accounts a where w.account_id = a.id"
        " and a.name = 'idle'"
    )
    assert tick(engine, sql, *names, "idle").polls == polls


def test_leads_that_are_not_due_call_for_no_poll(engine: Engine, sql: Sql) -> None:
    make_due(sql, 3)
    sql("update resolver.watches set next_poll_at = clock_timestamp() + interval '1 h' where lead_id = 1")
    sql("update resolver.watches set next_poll_at = null where lead_id = 2")
    sql("update resolver.watches set claim_id = 1, lease_until = now() where lead_id = 3")
    assert tick(engine, sql).polls == 0


def claim_elsewhere(sql: Sql, account: str, claims: int) -> None:
    sql(
        "insert into resolver.claims (account_id, permits, lease_until)"
        " select id, 1, now() + interval '1 min' from resolver.accounts, generate_series(1, %s) where name = %s",
        claims,
        account,
    )


def test_the_claim_of_a_dead_worker_holds_up_no_other_lead(engine: Engine, sql: Sql) -> None:
    make_due(sql, 1)
    claim_elsewhere(sql, "acme", 1)
    assert tick(engine, sql).polls == 1


def test_the_slow_work_of_one_account_takes_no_hint_from_another(engine: Engine, sql: Sql) -> None:
    make_due(sql, 1, "slow")
    sql("update resolver.watches set claim_id = 1, lease_until = now() + interval '1 min'")
    claim_elsewhere(sql, "slow", 4)
    make_due(sql, 25, "acme")
    assert tick(engine, sql, "slow", "acme").polls == 1


def test_a_paused_account_calls_for_no_poll(engine: Engine, sql: Sql) -> None:
    make_due(sql, 3)
    operations.pause(engine, "acme", "maintenance")
    assert tick(engine, sql).polls == 0
    operations.resume(engine, "acme")
    assert tick(engine, sql).polls == 1


def test_an_account_without_a_key_is_paused_with_the_reason_until_it_has_one(engine: Engine, sql: Sql) -> None:
    make_due(sql, 3)
    assert tick(engine, sql, "other").polls == 0
    ((kind, reason),) = sql("select pause_kind, pause_reason from resolver.accounts")
    assert kind == "settings"
    assert "no API key is configured" in reason
    assert tick(engine, sql, "acme").polls == 1
    assert sql("select pause_kind, pause_reason, paused_until from resolver.accounts") == [(None, None, None)]


def test_an_operators_pause_outlasts_settings_keys_and_throttling(engine: Engine, sql: Sql) -> None:
    make_due(sql, 1)
    operations.pause(engine, "acme", "maintenance")
    tick(engine, sql, "other")
    tick(engine, sql, "acme")
    with transaction(engine) as connection:
        now = read_clock(connection)
        for kind in (PauseKind.KEY, PauseKind.THROTTLED, PauseKind.SETTINGS):
            assert not pause_account(connection, "acme", kind, "trouble", now)
    assert sql("select pause_kind, pause_reason from resolver.accounts") == [("operator", "maintenance")]


def test_an_account_that_lost_its_key_while_throttled_waits_for_its_settings(engine: Engine, sql: Sql) -> None:
    make_due(sql, 1)
    sql("update resolver.accounts set pause_kind = 'throttled', paused_until = now()")
    assert tick(engine, sql, "other").polls == 0
    with transaction(engine) as connection:  # a request still under way is throttled once more
        assert not pause_account(connection, "acme", PauseKind.THROTTLED, "wait", read_clock(connection))
    assert tick(engine, sql, "acme").polls == 1


def test_of_ticks_at_the_same_time_one_acts(engine: Engine, sql: Sql) -> None:
    make_due(sql, 5)
    together = Barrier(5)

    def work(_: int) -> Hints:
        together.wait()
        return plan_hints(engine, ["acme"], 10)

    with ThreadPoolExecutor(5) as pool:
        hints = list(pool.map(work, range(5)))
    assert sum(hint.polls for hint in hints) == 1
    assert sum(hint.sweep for hint in hints) == 1


def test_the_sweep_is_due_every_ten_seconds_only(engine: Engine, sql: Sql) -> None:
    assert tick(engine, sql).sweep
    assert not tick(engine, sql).sweep
    sql("update resolver.ticks set at = clock_timestamp() - interval '10 s' where duty = 'sweep'")
    assert tick(engine, sql).sweep


@pytest.mark.parametrize("ahead", ["1 h", "1 day", "10 years"])
def test_a_duty_dated_in_the_future_by_a_clock_set_back_is_done_at_once(engine: Engine, sql: Sql, ahead: str) -> None:
    make_due(sql, 1)
    sql("insert into resolver.ticks (duty, at) values ('tick', now() + %s::interval), ('sweep', now())", ahead)
    assert plan_hints(engine, ["acme"], 10).polls == 1
    with transaction(engine) as connection:
        last = read_last(connection, "tick")
        assert last is not None
        assert last <= read_clock(connection)


def test_waiting_replies_call_for_persistence_and_parked_ones_do_not(engine: Engine, sql: Sql) -> None:
    make_due(sql, 1)
    columns = "lead_id, claim_id, received_at, http_status, body"
    sql(f"insert into resolver.replies ({columns}) values (1, 1, now(), 200, '{{}}')")
    sql("insert into resolver.unpersisted (reply_id, lead_id) values (1, 1)")
    assert tick(engine, sql).persist
    sql("update resolver.unpersisted set parked_because = 'poison'")
    assert not tick(engine, sql).persist


def test_many_leads_are_redriven_page_by_page_and_fall_due_at_their_accounts_pace(
    engine: Engine, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "REDRIVE_PAGE", 2)
    make_due(sql, 5)
    sql("update resolver.leads set state = 'abandoned'")
    sql("delete from resolver.watches where lead_id > 1")
    sql("update resolver.watches set next_poll_at = null")
    assert operations.redrive(engine, None, None, 0.1) == 5
    # Pages are transactions of their own, which the rows show.
    assert sql("select count(distinct xmin::text) from resolver.leads") == [(3,)]
    waits = "round(extract(epoch from next_poll_at - first_value(next_poll_at) over (order by lead_id)))::int"
    assert [wait for (wait,) in sql(f"select {waits} from resolver.watches order by lead_id")] == [0, 10, 20, 30, 40]


def test_a_redrive_that_meets_a_deadlock_is_tried_again(engine: Engine, sql: Sql, database_url: str) -> None:
    make_due(sql, 1)
    sql("update resolver.watches set next_poll_at = null")
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_url) as settling:
        settling.execute("set deadlock_timeout = '1min'")  # so that the other one is who gives way
        settling.execute("select from resolver.watches for update")
        redriven = pool.submit(operations.redrive, engine, None, None)
        while not sql("select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"):
            pass
        settling.execute("select from resolver.leads for update")
        settling.commit()
        assert redriven.result() == 1


def test_redriving_a_parked_lead_makes_it_due_and_forgets_why_it_was_parked(engine: Engine, sql: Sql) -> None:
    make_due(sql, 2)
    sql("update resolver.watches set next_poll_at = null, crashes = 3 where lead_id = 1")
    sql("update resolver.leads set state_reason = 'parked: …' where id = 1")
    assert operations.redrive(engine, None, None) == 1
    assert sql("select crashes, next_poll_at <= clock_timestamp() from resolver.watches where lead_id = 1") == [
        (0, True)
    ]
    assert sql("select state, state_reason from reporting.leads where queue_id = 'lead-000001'") == [("queued", None)]
    assert sql("select from_state, to_state, cause from reporting.events where from_state is not null") == [
        ("queued", "queued", "redriven by an operator")
    ]


def test_a_turn_hints_at_others_seldom_however_many_accounts_it_hands_over(engine: Engine) -> None:
    turn = PollTurn(engine)
    assert [turn.may_hint_at_going_on() for _ in range(50)] == [True] + [False] * 49
    assert turn.may_hint_at_persisting()  # which is another matter


@pytest.mark.parametrize(("slice_seconds", "due", "leaves_work"), [(0.0, 3, True), (0.0, 0, False), (60.0, 3, False)])
def test_a_turn_leaves_work_if_it_ends_while_leads_are_due(
    engine: Engine, sql: Sql, monkeypatch: pytest.MonkeyPatch, *, slice_seconds: float, due: int, leaves_work: bool
) -> None:
    monkeypatch.setattr(scheduling, "SLICE_SECONDS", slice_seconds)
    make_due(sql, due)
    assert PollTurn(engine).leaves_work() is leaves_work


def test_a_hint_is_worth_sending_again_after_a_while() -> None:
    now_and_then, always = Seldom(3600.0), Seldom(0.0)
    assert [now_and_then(), now_and_then(), always(), always()] == [True, False, True, True]
