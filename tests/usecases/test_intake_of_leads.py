"""Intake: once each, refused where malformed, streamed, spread out; through Python and through SQL."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from worker.errors import SettingsError
from worker.intake import BATCH, FIRST_POLL_AFTER, Refusal, Submission, Tracked, track

Sql = Callable[..., list[tuple[Any, ...]]]

LEAD = "ac1e0206-6d6fd2fa-62ce91e7-ba33-5cc458e6"
MALFORMED = {
    "SQL": "'; drop table resolver.leads; --",
    "path": "../../quarantine/process",
    "encoded path": "%2e%2e%2fquarantine",
    "query": "ac1e0206?key=stolen",
    "fragment": "ac1e0206#abcdefgh",
    "CRLF": "ac1e0206\r\nX_KEY: mine",
    "non-ASCII digits": "١٢٣٤٥٦٧٨٩٠",
    "trailing newline": LEAD + "\n",
    "leading space": " " + LEAD,
    "inner space": "ac1e0206 6d6fd2fa",
    "empty": "",
    "too short": "ac1e020",
    "too long": "a" * 65,
    "10 MB": "a" * 10_000_000,
}
NUL = "ac1e0206\0abcdefgh"


def track_ids(engine: Engine, account: str, *queue_ids: str) -> Tracked:
    (done,) = track(engine, account, [Submission(queue_id) for queue_id in queue_ids])
    return done


def count_rows(sql: Sql) -> tuple[int, ...]:
    tables = ("leads", "lead_events", "watches")
    return tuple(sql(f"select count(*) from resolver.{table}")[0][0] for table in tables)


def test_a_lead_tracked_by_fifty_at_once_is_one_lead(engine: Engine, sql: Sql) -> None:
    together = Barrier(50)

    def work(_: int) -> int:
        together.wait()
        # Five connections for fifty threads: some wait for one, which must not cost a lead either.
        return track_ids(engine, "acme", LEAD).new

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(work, range(50))) == 1
    assert count_rows(sql) == (1, 1, 1)


def test_a_lead_tracked_in_sql_by_twenty_at_once_is_one_lead(database_url: str, sql: Sql) -> None:
    together = Barrier(20)

    def work(_: int) -> str:
        with psycopg.connect(database_url) as connection:
            together.wait()
            row = connection.execute("select track_lead('acme', %s)", [LEAD]).fetchone()
            assert row is not None
            return str(row[0])

    with ThreadPoolExecutor(20) as pool:
        assert sorted(pool.map(work, range(20))) == ["known"] * 19 + ["new"]
    assert count_rows(sql) == (1, 1, 1)


def test_a_lead_tracked_again_is_known_and_changes_nothing(engine: Engine, sql: Sql) -> None:
    assert track_ids(engine, "acme", LEAD) == Tracked(new=1)
    before = sql("select * from resolver.leads l join resolver.watches w on w.lead_id = l.id")
    assert track_ids(engine, "acme", LEAD, LEAD) == Tracked(known=2)
    assert sql("select * from resolver.leads l join resolver.watches w on w.lead_id = l.id") == before


def test_the_same_id_under_two_accounts_is_two_leads(engine: Engine, sql: Sql) -> None:
    track_ids(engine, "acme", LEAD)
    track_ids(engine, "other", LEAD)
    assert count_rows(sql) == (2, 2, 2)
    assert sql("select account from reporting.leads order by 1") == [("acme",), ("other",)]


def test_a_lead_resolved_before_stays_so_when_tracked_again(engine: Engine, sql: Sql) -> None:
    track_ids(engine, "acme", LEAD)
    sql("delete from resolver.watches")
    sql("update resolver.leads set state = 'approved', resolved_at = now()")
    assert track_ids(engine, "acme", LEAD).known == 1
    assert sql("select state from resolver.leads") == [("approved",)]
    assert sql("select count(*) from resolver.watches") == [(0,)]


def test_track_lead_commits_with_the_callers_transaction(database_url: str, sql: Sql) -> None:
    with psycopg.connect(database_url) as site:
        said = site.execute("select track_lead('acme', %s, 'order 7'), track_lead('acme', %s)", [LEAD, LEAD]).fetchone()
        assert said == ("new", "known")
        assert count_rows(sql) == (0, 0, 0)
        site.rollback()
        assert count_rows(sql) == (0, 0, 0)
        site.execute("select track_lead('acme', %s, 'order 7')", [LEAD])
    assert count_rows(sql) == (1, 1, 1)
    assert sql("select reference from reporting.leads") == [("order 7",)]


def test_what_is_no_queue_id_is_refused_with_its_reason_and_the_others_are_kept(engine: Engine, sql: Sql) -> None:
    for number, (kind, text) in enumerate(MALFORMED.items()):
        (done,) = track(engine, "acme", [Submission(LEAD), Submission(text, line=number)])
        (refusal,) = done.refused
        assert refusal.line == number, kind
        assert "is no queue ID: " in refusal.reason, kind
        assert len(refusal.reason) < 600, kind
        assert refusal.reason.isprintable(), kind
    assert sql("select queue_id from resolver.leads") == [(LEAD,)]


def test_what_is_no_queue_id_is_refused_in_sql(sql: Sql) -> None:
    for kind, text in MALFORMED.items():
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="queue ID") as refused:
            sql("select track_lead('acme', %s)", text)
        assert len(str(refused.value)) < 600, kind
    assert count_rows(sql) == (0, 0, 0)
    assert sql("select count(*) from resolver.accounts") == [(0,)]


def test_a_nul_is_refused_on_both_ways(engine: Engine, sql: Sql) -> None:
    assert track_ids(engine, "acme", NUL).refused
    with pytest.raises(psycopg.DataError):
        sql("select track_lead('acme', %s)", NUL)
    assert count_rows(sql) == (0, 0, 0)


def test_what_is_no_account_is_refused(engine: Engine, sql: Sql) -> None:
    for account in ("", "../acme", "acme\n", "a b", "é", "-acme", "x" * 64):
        with pytest.raises(SettingsError):
            list(track(engine, account, [Submission(LEAD)]))
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="account"):
            sql("select track_lead(%s, %s)", account, LEAD)
    assert sql("select count(*) from resolver.accounts") == [(0,)]


def test_a_null_is_refused_in_sql(sql: Sql) -> None:
    for call in ("track_lead(null, 'abcdefgh')", "track_lead('acme', null)"):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            sql(f"select {call}")


@pytest.mark.parametrize(
    "reference",
    ["x" * 201, "two\nlines", "nul\0", "\x1b[2J", "c1 \x9b", "\u202eturned", "zero\u200bwidth", "\ufeffbom"],
)
def test_a_reference_that_is_no_plain_text_is_refused(engine: Engine, sql: Sql, reference: str) -> None:
    (done,) = track(engine, "acme", [Submission(LEAD, reference)])
    assert len(done.refused) == 1
    with pytest.raises(psycopg.DataError):
        sql("select track_lead('acme', %s, %s)", LEAD, reference)
    assert count_rows(sql) == (0, 0, 0)


def test_a_refusal_made_while_reading_is_passed_on(engine: Engine) -> None:
    (done,) = track(engine, "acme", [Refusal(3, "no JSON"), Submission(LEAD)])
    assert done == Tracked(new=1, refused=(Refusal(3, "no JSON"),))


def test_overlapping_imports_in_opposite_order_wait_for_each_other_and_never_crosswise(
    engine: Engine, sql: Sql
) -> None:
    ids = [f"lead-{n:08}" for n in range(4000)]
    together = Barrier(4)

    def work(number: int) -> int:
        submissions = [Submission(queue_id) for queue_id in (ids if number % 2 else reversed(ids))]
        together.wait()
        return sum(batch.new for batch in track(engine, "acme", submissions))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 4000
    assert count_rows(sql) == (4000, 4000, 4000)


def test_first_polls_of_a_large_import_are_spread_at_the_accounts_rate(engine: Engine, sql: Sql) -> None:
    submissions = (Submission(f"lead-{n:08}") for n in range(12_000))
    assert sum(batch.new for batch in track(engine, "acme", submissions, requests_per_second=100.0)) == 12_000
    ((span, busiest),) = sql(
        "select extract(epoch from max(next_poll_at) - min(next_poll_at)), (select max(count) from ("
        " select count(*) from resolver.watches group by date_trunc('second', next_poll_at)) s)"
        " from resolver.watches"
    )
    assert 115 < span < 125
    assert busiest < 160


def test_a_single_lead_is_first_asked_about_within_seconds(engine: Engine, sql: Sql) -> None:
    track_ids(engine, "acme", LEAD)
    ((after,),) = sql("select next_poll_at - watched_since from resolver.watches")
    assert FIRST_POLL_AFTER * 0.7 < after < FIRST_POLL_AFTER * 1.3


def test_an_import_of_any_length_runs_in_bounded_memory(engine: Engine, sql: Sql) -> None:
    handed_over = 0

    def generate() -> Iterator[Submission]:
        nonlocal handed_over
        for handed_over in range(1, 200_001):
            if handed_over == 150_000:
                tracemalloc.start()  # only now: it slows everything down
            yield Submission(f"lead-{handed_over % 20_000:08}", f"ref {handed_over}", handed_over)  # each ten times

    recorded = new = 0
    try:
        for batch in track(engine, "acme", generate()):
            recorded, new = recorded + batch.new + batch.known, new + batch.new
            assert handed_over - recorded <= BATCH
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (new, recorded) == (20_000, 200_000)
    assert peak < 15_000_000
    assert sql("select count(*) from resolver.watches") == [(20_000,)]


@pytest.mark.parametrize(("age_days", "taken"), [(0.01, True), (29.0, True), (31.0, False), (-0.1, False)])
def test_the_stamp_in_a_queue_id_is_when_it_was_submitted_where_that_is_plausible(
    engine: Engine, sql: Sql, age_days: float, taken: bool
) -> None:
    stamp = int(time.time() - age_days * 86_400)
    track_ids(engine, "acme", f"ac1e0206-6d6fd2fa-{stamp:08x}-ba33-5cc458e6")
    ((submitted, tracked),) = sql(
        "select extract(epoch from submitted_at), extract(epoch from tracked_at) from resolver.leads"
    )
    assert submitted == (stamp if taken else tracked)


def test_an_opaque_queue_id_was_submitted_when_it_was_tracked(engine: Engine, sql: Sql) -> None:
    track_ids(engine, "acme", "ABCDEFGH-0000-zzzz")
    assert sql("select submitted_at = tracked_at from resolver.leads") == [(True,)]
