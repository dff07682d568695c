"""Claims: which leads, how many, how fast; over all workers together."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from worker.store.budget import PACE_HORIZON, Budget
from worker.store.claims import LEADS_A_PERMIT, Claim, Spent, claim_due_leads
from worker.store.db import read_clock, transaction
from worker.store.settling import Release, release_permits

Sql = Callable[..., list[tuple[Any, ...]]]
Take = Callable[..., Claim | None]
MakeDue = Callable[..., None]


def names(claim: Claim | None) -> list[str]:
    return [] if claim is None else sorted(lead.queue_id for lead in claim.leads)


def claim_at_once(claim: Take, workers: int, **options: float) -> list[Claim]:
    together = Barrier(workers)

    def work(_: int) -> Claim | None:
        together.wait()
        return claim(**options)

    with ThreadPoolExecutor(workers) as pool:
        return [taken for taken in pool.map(work, range(workers)) if taken is not None]


@pytest.mark.parametrize(
    "change",
    [
        "next_poll_at = clock_timestamp() + interval '1 h'",
        "next_poll_at = null",
        "claim_id = 99, lease_until = clock_timestamp() + interval '1 min'",
        "claim_id = 99, lease_until = clock_timestamp() - interval '1 min'",
    ],
    ids=["not due", "parked", "leased", "lease run out, not rescued yet"],
)
def test_only_leads_that_are_due_and_free_are_claimed(claim: Take, make_due: MakeDue, sql: Sql, change: str) -> None:
    make_due(3)
    sql(f"update resolver.watches set {change} where queue_id = 'lead-000002'")
    assert names(claim()) == ["lead-000001", "lead-000003"]
    assert claim() is None


def test_a_claim_takes_no_lead_of_another_account(claim: Take, make_due: MakeDue) -> None:
    make_due(2)
    make_due(2, account="other", prefix="other")
    assert names(claim("other")) == ["other-000001", "other-000002"]


def test_an_account_nobody_heard_of_has_nothing_to_claim(claim: Take) -> None:
    assert claim("stranger") is None


@pytest.mark.parametrize("kind", ["operator", "settings", "key", "throttled"])
def test_nothing_of_a_paused_account_is_claimed(claim: Take, make_due: MakeDue, sql: Sql, kind: str) -> None:
    make_due(1)
    sql("update resolver.accounts set paused_until = clock_timestamp() + interval '1 h', pause_kind = %s", kind)
    assert claim() is None


@pytest.mark.parametrize(("kind", "hold"), [("key", 60), ("throttled", 20), ("trouble", 20)])
def test_exactly_one_probe_follows_a_pause_however_many_workers_there_are(
    claim: Take, make_due: MakeDue, sql: Sql, kind: str, hold: int
) -> None:
    make_due(20)
    sql("update resolver.accounts set paused_until = clock_timestamp() - interval '1 s', pause_kind = %s", kind)
    (probe,) = claim_at_once(claim, 4)
    assert len(probe.leads) == 1
    ((still_paused,),) = sql(
        "select extract(epoch from paused_until - clock_timestamp()) between %s and %s from resolver.accounts",
        hold - 10,
        hold,
    )
    assert still_paused


def test_a_claim_takes_as_many_slots_as_the_account_bears_just_now(claim: Take, make_due: MakeDue, sql: Sql) -> None:
    make_due(100)
    sql("update resolver.accounts set rate_share = 0.5")
    taken = claim(rate=10, concurrency=8)
    assert taken is not None
    assert len(taken.leads) == 5 * PACE_HORIZON.total_seconds() + 1  # so far ahead at half the rate
    assert taken.permits == 4  # half the concurrency


def test_a_claim_with_few_permits_takes_few_leads(claim: Take, make_due: MakeDue) -> None:
    make_due(100)
    taken = claim(concurrency=1)
    assert taken is not None
    assert (taken.permits, len(taken.leads)) == (1, LEADS_A_PERMIT)


def test_todays_budget_is_kept_and_the_account_paused_until_midnight(claim: Take, make_due: MakeDue, sql: Sql) -> None:
    make_due(20)
    first = claim(per_day=12, limit=8)
    second = claim(per_day=12, limit=8)
    assert first is not None
    assert second is not None
    assert (len(first.leads), len(second.leads)) == (8, 4)
    assert claim(per_day=12) is None
    ((kind, until),) = sql("select pause_kind, to_char(paused_until, 'HH24:MI:SS') from resolver.accounts")
    assert (kind, until) == ("budget", "00:00:00")


def test_a_new_day_begins_with_the_whole_budget_and_without_a_probe(claim: Take, make_due: MakeDue, sql: Sql) -> None:
    make_due(20)
    sql(
        "update resolver.accounts set requests_day = current_date - 1, requests_today = 12, pause_kind = 'budget',"
        " paused_until = clock_timestamp() - interval '1 s'"
    )
    taken = claim(per_day=12)
    assert taken is not None
    assert len(taken.leads) == 12
    assert taken.probe_until is None
    assert sql("select pause_kind, paused_until, pause_reason from resolver.accounts") == [(None, None, None)]


def test_claimers_at_the_same_time_share_no_lead_and_leave_none(claim: Take, make_due: MakeDue) -> None:
    make_due(200)
    claims = claim_at_once(claim, 5, limit=40, rate=10_000.0, concurrency=1000)
    assert len(claims) == 5
    taken = [lead.lead_id for claim in claims for lead in claim.leads]
    assert len(taken) == len(set(taken)) == 200


def test_a_row_held_by_another_transaction_does_not_hold_up_a_claim(
    claim: Take, make_due: MakeDue, database_url: str
) -> None:
    make_due(3)
    with psycopg.connect(database_url) as elsewhere:
        elsewhere.execute("select from resolver.watches where queue_id = 'lead-000002' for update")
        assert names(claim()) == ["lead-000001", "lead-000003"]


def test_a_claim_has_moments_for_those_alone_that_can_leave_at_once(claim: Take, make_due: MakeDue) -> None:
    make_due(30)
    taken = claim(rate=20.0, concurrency=3)
    assert taken is not None
    assert len(taken.leads) == 11
    waits = [lead.send_after.total_seconds() for lead in taken.leads if lead.send_after is not None]
    assert waits == pytest.approx([0, 0.05, 0.1], abs=1e-6)  # as many as it has permits


def test_no_more_leads_are_claimed_than_can_be_asked_about_soon(claim: Take, make_due: MakeDue) -> None:
    make_due(50)
    taken = claim(rate=2.0)
    assert taken is not None
    assert len(taken.leads) == 2 * PACE_HORIZON.total_seconds() + 1


@pytest.mark.parametrize(("rate", "leads"), [(2.0, 5), (5.0, 11), (10.0, 11), (20.0, 11), (100.0, 51)])
def test_a_claim_is_small_where_many_can_be_asked_soon(claim: Take, make_due: MakeDue, rate: float, leads: int) -> None:
    make_due(200)
    taken = claim(rate=rate, concurrency=100)
    assert taken is not None
    assert len(taken.leads) == leads  # what becomes due in the next half a second finds room in the next claim


def test_the_oldest_and_the_newest_of_a_claim_are_asked_in_turns(claim: Take, make_due: MakeDue, sql: Sql) -> None:
    make_due(9)
    sql("update resolver.watches set next_poll_at = clock_timestamp() - random() * interval '1 day'")
    sql("update resolver.watches set polls = 1 where lead_id % 3 = 0")  # they lie behind the others now
    taken = claim()
    assert taken is not None
    asked = [lead.lead_id - min(each.lead_id for each in taken.leads) for lead in taken.leads]
    assert asked in ([8, 0, 7, 1, 6, 2, 5, 3, 4], [0, 8, 1, 7, 2, 6, 3, 5, 4])
    waits = [lead.send_after for lead in taken.leads if lead.send_after is not None]
    assert waits == sorted(waits)


def test_neither_old_nor_fresh_leads_starve_where_each_turn_asks_one(claim: Take, make_due: MakeDue, sql: Sql) -> None:
    make_due(20)
    ((first,),) = sql("select min(lead_id) from resolver.watches")
    asked_first = set()
    for _ in range(30):
        taken = claim()
        assert taken is not None
        asked_first.add(taken.leads[0].lead_id - first)
        sql("update resolver.watches set claim_id = null, lease_until = null")  # as a turn leaves what it did not ask
        sql("delete from resolver.claims")
    assert asked_first == {0, 19}


def test_time_that_passed_unused_is_not_saved_up(claim: Take, make_due: MakeDue, sql: Sql) -> None:
    make_due(50)
    sql("update resolver.accounts set next_slot_at = clock_timestamp() - interval '1 day'")
    taken = claim(rate=2.0)
    assert taken is not None
    assert len(taken.leads) == 2 * PACE_HORIZON.total_seconds() + 1


def test_a_pacer_that_is_ahead_holds_up_no_lead_of_another_account(claim: Take, make_due: MakeDue, sql: Sql) -> None:
    make_due(1)
    make_due(1, account="other", prefix="other")
    sql("update resolver.accounts set next_slot_at = clock_timestamp() + interval '400 ms' where name = 'acme'")
    mine, other = claim(), claim("other")
    assert mine is not None
    assert other is not None
    assert mine.leads[0].send_after is None
    assert other.leads[0].send_after == timedelta(0)


@pytest.mark.parametrize("concurrency", [1, 3, 7])
def test_concurrent_claims_never_hold_more_permits_than_the_account_has(
    claim: Take, make_due: MakeDue, concurrency: int
) -> None:
    make_due(100)
    claims = claim_at_once(claim, 5, concurrency=concurrency, limit=2, rate=10_000.0)
    assert 0 < sum(taken.permits for taken in claims) <= concurrency


def test_a_claim_without_a_free_permit_shares_those_that_its_process_holds(claim: Take, make_due: MakeDue) -> None:
    make_due(8)
    first = claim(concurrency=2, limit=4)
    assert first is not None
    second = claim(concurrency=2, ours=2)
    assert second is not None
    assert (second.permits, len(second.leads)) == (0, 4)
    assert all(lead.send_after is None for lead in second.leads)


def test_nothing_is_claimed_while_more_permits_are_given_out_than_may_be(
    claim: Take, make_due: MakeDue, sql: Sql
) -> None:
    make_due(8)
    assert claim(concurrency=8, limit=4) is not None
    sql("update resolver.accounts set rate_share = 0.25")
    assert claim(concurrency=8, ours=4) is None
    sql("update resolver.accounts set rate_share = 0.5")
    another = claim(concurrency=8, ours=4)
    assert another is not None
    assert another.borne == 4


def test_permits_come_back_when_a_claim_is_closed(claim: Take, make_due: MakeDue, engine: Engine) -> None:
    make_due(4)
    first = claim(concurrency=1, limit=2)
    assert first is not None
    assert claim(concurrency=1) is None
    with transaction(engine) as connection:
        release_permits(connection, first, Release(), read_clock(connection))
    assert claim(concurrency=1) is not None


def test_permits_come_back_when_a_claim_runs_out(claim: Take, make_due: MakeDue, sql: Sql) -> None:
    make_due(4)
    claim(concurrency=1, limit=2)
    assert claim(concurrency=1) is None
    sql("update resolver.claims set lease_until = clock_timestamp()")
    assert claim(concurrency=1) is not None


def claim_from(engine: Engine, rate: float) -> Claim | Spent | None:
    with transaction(engine) as connection:
        return claim_due_leads(connection, "acme", Budget(rate, 50), read_clock(connection), 100)


def test_a_budget_that_is_spent_says_when_it_bears_another_claim(engine: Engine, make_due: MakeDue) -> None:
    make_due(3)
    first, second = claim_from(engine, 0.1), claim_from(engine, 0.1)
    assert isinstance(first, Claim)
    assert len(first.leads) == 1
    assert isinstance(second, Spent)
    wait = timedelta(seconds=10) - PACE_HORIZON
    assert first.next_in == wait
    assert wait - timedelta(seconds=5) < second.next_in <= wait


def test_a_budget_with_moments_near_enough_bears_another_claim_at_once(engine: Engine, make_due: MakeDue) -> None:
    make_due(3)
    claimed = claim_from(engine, 100.0)
    assert isinstance(claimed, Claim)
    assert claimed.next_in <= timedelta(0)


@pytest.mark.parametrize(("rate", "with_moments"), [(2.0, 5), (20.0, 7)])
def test_where_moments_are_far_apart_each_lead_has_its_own_with_the_claim(
    engine: Engine, make_due: MakeDue, rate: float, with_moments: int
) -> None:
    make_due(30)
    claimed = claim_from(engine, rate)
    assert isinstance(claimed, Claim)
    sent_after = sorted(lead.send_after for lead in claimed.leads if lead.send_after is not None)
    assert sent_after == [n * claimed.gap for n in range(with_moments)]
    assert (len(claimed.leads) == with_moments) == (rate == 2.0)


def test_a_lead_that_lost_its_lease_once_is_claimed_among_others(claim: Take, make_due: MakeDue, sql: Sql) -> None:
    make_due(3)
    sql("update resolver.watches set crashes = 1")
    assert len(names(claim())) == 3


def test_a_clock_that_was_set_back_stops_nobody(claim: Take, make_due: MakeDue, sql: Sql) -> None:
    make_due(3)
    sql("update resolver.accounts set next_slot_at = clock_timestamp() + interval '1 hour'")
    sql(
        "insert into resolver.claims (account_id, permits, lease_until)"
        " select id, 1000, clock_timestamp() + interval '1 hour' from resolver.accounts"
    )
    taken = claim()
    assert taken is not None
    assert taken.leads[0].send_after == timedelta(0)


def test_oldest_and_newest_both_progress_through_a_backlog(claim: Take, make_due: MakeDue) -> None:
    make_due(100)
    assert names(claim(limit=4)) == [f"lead-{n:06}" for n in (1, 2, 99, 100)]


def test_single_leads_are_claimed_from_either_end(claim: Take, make_due: MakeDue) -> None:
    make_due(100)
    taken = {name for _ in range(40) for name in names(claim(limit=1))}
    assert {"lead-000001", "lead-000100"} < taken
    assert "lead-000050" not in taken


def test_the_lease_outlasts_the_horizon_and_the_longest_request(claim: Take, make_due: MakeDue, sql: Sql) -> None:
    make_due(1)
    claim()
    ((lease,),) = sql("select lease_until - clock_timestamp() from resolver.watches")
    assert lease > PACE_HORIZON + timedelta(seconds=30)
