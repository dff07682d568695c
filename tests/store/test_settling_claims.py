"""Settling: fenced, counted, journalled once; and the rescue of what was never settled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from worker.domain.decide import Step
from worker.domain.lifecycle import State
from worker.errors import LeadResolverError
from worker.rescue import sweep
from worker.store.claims import Claim
from worker.store.db import read_clock, transaction
from worker.store.leads import Move, move_leads
from worker.store.rescue import MOST_CRASHES, rescue_expired_leases
from worker.store.settling import JournalEntry, Release, count_polls, journal_replies, release_permits, settle_polls

Sql = Callable[..., list[tuple[Any, ...]]]
Take = Callable[..., Claim | None]
MakeDue = Callable[..., None]


@pytest.fixture
def claimed(claim: Take, make_due: MakeDue) -> Claim:
    make_due(1)
    taken = claim()
    assert taken is not None
    return taken


def settle(engine: Engine, claim: Claim, **step: Any) -> set[int]:
    with transaction(engine) as connection:
        now = read_clock(connection)
        steps = [(lead.lead_id, Step(**{"next_poll_at": now + timedelta(minutes=1), **step})) for lead in claim.leads]
        return settle_polls(connection, claim, steps, now)


def read_watch(sql: Sql, *columns: str) -> tuple[Any, ...]:
    (row,) = sql(f"select {', '.join(columns)} from resolver.watches")
    return row


COUNTERS = ("polls", "failures", "failure_streak")


def test_a_settled_lead_is_free_and_scheduled(engine: Engine, claimed: Claim, sql: Sql) -> None:
    assert settle(engine, claimed, answered=True, note="LeadByte says: Queued") == {claimed.leads[0].lead_id}
    assert read_watch(sql, "claim_id", "lease_until", "last_note") == (None, None, "LeadByte says: Queued")
    assert sql("select next_poll_at > clock_timestamp() + interval '50 s' from resolver.watches") == [(True,)]


def test_a_stale_worker_cannot_settle_a_lead_that_another_has_claimed(engine: Engine, claimed: Claim, sql: Sql) -> None:
    before = sql("select * from resolver.watches")
    assert settle(engine, replace(claimed, id=claimed.id + 1000), answered=True) == set()
    assert sql("select * from resolver.watches") == before


def test_a_worker_paused_past_its_lease_cannot_settle(engine: Engine, claimed: Claim, sql: Sql) -> None:
    sql("update resolver.watches set lease_until = clock_timestamp() - interval '1 ms'")
    before = sql("select * from resolver.watches")
    assert settle(engine, claimed, answered=True) == set()
    assert sql("select * from resolver.watches") == before


def test_a_settled_claim_cannot_be_settled_again(engine: Engine, claimed: Claim) -> None:
    assert settle(engine, claimed, answered=True)
    assert settle(engine, claimed, answered=True) == set()


def test_not_yet_spends_no_failure(engine: Engine, claimed: Claim, sql: Sql) -> None:
    sql("update resolver.watches set failures = 4, failure_streak = 4")
    settle(engine, claimed, answered=True)
    assert read_watch(sql, *COUNTERS) == (1, 4, 0)


def test_a_failure_counts_as_a_poll_and_lengthens_the_streak(engine: Engine, claimed: Claim, sql: Sql) -> None:
    sql("update resolver.watches set failures = 4, failure_streak = 2")
    settle(engine, claimed, failed=True)
    assert read_watch(sql, *COUNTERS) == (1, 5, 3)


def test_a_lead_handed_back_pays_nothing_and_keeps_its_note(engine: Engine, claimed: Claim, sql: Sql) -> None:
    sql("update resolver.watches set failure_streak = 2, last_note = 'as before'")
    settle(engine, claimed)
    assert read_watch(sql, *COUNTERS, "last_poll_at", "last_note") == (0, 0, 2, None, "as before")


@pytest.mark.parametrize(("ahead", "hurried"), [("-5 minutes", False), ("-5 minutes", True), ("1 hour", False)])
def test_a_lead_that_was_not_asked_about_is_due_and_keeps_its_place(
    engine: Engine, claimed: Claim, sql: Sql, ahead: str, hurried: bool
) -> None:
    # An hour ahead: the clock was set back while it was claimed.
    sql("update resolver.watches set next_poll_at = lease_until - interval '60 s' + %s::interval, crashes = 1", ahead)
    if hurried:
        sql("update resolver.watches set hurry_since = clock_timestamp()")
    before = sql("select least(next_poll_at, clock_timestamp()) from resolver.watches")
    settle(engine, claimed, next_poll_at=None)
    assert sql("select next_poll_at <= clock_timestamp(), crashes from resolver.watches") == [(True, 1)]
    assert read_watch(sql, "next_poll_at") >= before[0]


def test_an_endless_streak_of_failures_stays_a_number(engine: Engine, claimed: Claim, sql: Sql) -> None:
    sql("update resolver.watches set failure_streak = 10000")
    settle(engine, claimed, failed=True)
    assert read_watch(sql, "failure_streak") == (10000,)


def journal(engine: Engine, claim: Claim) -> None:
    with transaction(engine) as connection:
        now = read_clock(connection)
        journal_replies(connection, claim, [JournalEntry(claim.leads[0].lead_id, now, 200, "{}", None)])


def test_a_journalled_reply_waits_to_be_persisted(engine: Engine, claimed: Claim, sql: Sql) -> None:
    journal(engine, claimed)
    assert sql("select u.lead_id, attempts, parked_because from resolver.unpersisted u") == [
        (claimed.leads[0].lead_id, 0, None)
    ]


def test_a_doubled_journal_write_is_refused_whole(engine: Engine, claimed: Claim, sql: Sql) -> None:
    journal(engine, claimed)
    with pytest.raises(LeadResolverError, match="SQLSTATE 23"):
        journal(engine, claimed)
    assert sql("select count(*) from resolver.replies") == [(1,)]
    assert sql("select count(*) from resolver.unpersisted") == [(1,)]


@pytest.mark.usefixtures("claimed")
def test_requests_are_counted_in_steps_of_ten_seconds(engine: Engine, sql: Sql) -> None:
    with transaction(engine) as connection:
        now = read_clock(connection).replace(second=20, microsecond=0)
        for offset, polls, failures in ((0, 5, 1), (9, 2, 2), (10, 7, 0)):
            count_polls(connection, "acme", polls, failures, now + timedelta(seconds=offset))
    assert sql("select polls, failures from resolver.poll_counts order by bucket") == [(7, 3), (7, 0)]


def test_a_closed_claim_leaves_its_unsettled_leads_to_the_rescue(engine: Engine, claimed: Claim, sql: Sql) -> None:
    with transaction(engine) as connection:
        release_permits(connection, claimed, Release(), read_clock(connection))
    assert sql("select count(*) from resolver.claims") == [(0,)]
    assert read_watch(sql, "claim_id") == (claimed.id,)


@pytest.mark.parametrize(("left", "kept"), [(1, [1]), (0, [])])
def test_permits_pass_on_to_an_heir_once_however_often_that_is_done(
    engine: Engine, claimed: Claim, sql: Sql, left: int, kept: list[int]
) -> None:
    sql("update resolver.claims set permits = 5")
    (heir,) = sql(
        "insert into resolver.claims (account_id, permits, lease_until)"
        " select account_id, 2, lease_until from resolver.claims returning id"
    )[0]
    arrived = []
    for _ in range(2):  # the second time as after a commit whose confirmation was lost
        with transaction(engine) as connection:
            release = Release(left=left, freed=5 - left, heir=heir, passed_on=3)
            arrived.append(release_permits(connection, claimed, release, read_clock(connection)))
    assert arrived == [True, False]
    assert [permits for (permits,) in sql("select permits from resolver.claims order by id")] == [*kept, 5]


@pytest.mark.parametrize("left", [0, 1])
def test_permits_that_had_lapsed_pass_on_to_nobody(engine: Engine, claimed: Claim, sql: Sql, left: int) -> None:
    (heir,) = sql(
        "insert into resolver.claims (account_id, permits, lease_until)"
        " select account_id, 2, lease_until from resolver.claims returning id"
    )[0]
    sql("update resolver.claims set permits = 5, lease_until = clock_timestamp() where id = %s", claimed.id)
    with transaction(engine) as connection:
        release = Release(left=left, freed=5 - left, heir=heir, passed_on=3)
        assert not release_permits(connection, claimed, release, read_clock(connection))
    assert sql("select permits from resolver.claims where id = %s", heir) == [(2,)]
    assert sql("select coalesce(sum(permits), 0) from resolver.claims where id = %s", claimed.id) == [(left,)]


@pytest.mark.usefixtures("claimed")
def test_a_lease_that_has_not_run_out_is_left_alone(engine: Engine) -> None:
    assert sweep(engine).leads == 0


@pytest.mark.usefixtures("claimed")
def test_a_lead_whose_worker_died_is_due_again(engine: Engine, sql: Sql) -> None:
    sql("update resolver.watches set lease_until = clock_timestamp()")
    rescued = sweep(engine)
    assert (rescued.leads, rescued.parked) == (1, 0)
    assert read_watch(sql, "claim_id", "crashes") == (None, 1)
    assert sql("select next_poll_at <= clock_timestamp() from resolver.watches") == [(True,)]


def test_a_lead_that_killed_three_workers_is_parked_with_a_reason(
    engine: Engine, claim: Take, claim_suspect: Take, make_due: MakeDue, sql: Sql
) -> None:
    make_due(1)
    parked = 0
    for round_ in range(MOST_CRASHES):
        assert (claim_suspect if round_ > 1 else claim)() is not None
        sql("update resolver.watches set lease_until = clock_timestamp()")
        parked = sweep(engine).parked
    assert parked == 1
    assert read_watch(sql, "claim_id", "next_poll_at") == (None, None)
    assert sql("select state_reason like 'parked: %%' from resolver.leads") == [(True,)]
    assert claim() is None
    assert claim_suspect() is None


def test_a_settled_poll_clears_the_suspicion(engine: Engine, claimed: Claim, sql: Sql) -> None:
    sql("update resolver.watches set crashes = 2")
    settle(engine, claimed, answered=True)
    assert read_watch(sql, "crashes") == (0,)


def test_the_sweep_forgets_old_claims_and_counts_and_keeps_new_ones(engine: Engine, claimed: Claim, sql: Sql) -> None:
    sql(
        "insert into resolver.claims (account_id, permits, lease_until)"
        " select id, 1, clock_timestamp() - interval '2 min' from resolver.accounts"
    )
    sql(
        "insert into resolver.poll_counts select id, clock_timestamp() - age, 1, 0"
        " from resolver.accounts, unnest(array[interval '25 h', interval '1 h']) age"
    )
    sweep(engine)
    assert sql("select id from resolver.claims") == [(claimed.id,)]
    assert sql("select count(*) from resolver.poll_counts") == [(1,)]


@pytest.mark.usefixtures("claimed")
def test_a_lease_of_a_clock_that_was_set_back_is_taken_back(engine: Engine, sql: Sql) -> None:
    sql("update resolver.watches set lease_until = clock_timestamp() + interval '1 h'")
    sql("update resolver.claims set lease_until = clock_timestamp() + interval '1 h'")
    assert sweep(engine).leads == 1
    assert sql("select count(*) from resolver.claims") == [(0,)]


@pytest.mark.usefixtures("claimed")
def test_a_sweep_waits_for_nobody_who_holds_a_lead(engine: Engine, sql: Sql) -> None:
    sql(f"update resolver.watches set lease_until = clock_timestamp(), crashes = {MOST_CRASHES - 1}")
    with transaction(engine) as persisting:
        persisting.execute(text("select from resolver.leads for no key update"))
        assert sweep(engine).leads == 0
    assert sweep(engine).parked == 1


@pytest.mark.usefixtures("claimed")
def test_two_sweeps_at_once_count_one_crash(engine: Engine, sql: Sql) -> None:
    sql("update resolver.watches set lease_until = clock_timestamp()")
    with transaction(engine) as first, transaction(engine) as second:
        now: datetime = read_clock(first)
        found = [rescue_expired_leases(first, now).leads, rescue_expired_leases(second, now).leads]
    assert found == [1, 0]
    assert read_watch(sql, "crashes") == (1,)


def test_a_move_from_a_state_the_lead_has_left_does_nothing(engine: Engine, claimed: Claim, sql: Sql) -> None:
    lead = claimed.leads[0].lead_id
    with transaction(engine) as connection:
        now = read_clock(connection)
        assert move_leads(connection, [Move(lead, State.PENDING, State.APPROVED, "x", resolved_at=now)], now) == set()
    assert sql("select state from resolver.leads") == [("queued",)]
    assert sql("select to_state from resolver.lead_events") == [("queued",)]
