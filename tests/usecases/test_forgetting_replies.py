"""Old replies of closed leads are forgotten, in bounded steps; no fact is, not even by a replay."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from worker.cli.app import run_command
from worker.domain import classify
from worker.domain.lifecycle import State
from worker.replaying import replay
from worker.rescue import sweep
from worker.results import persist_replies
from worker.store.db import read_clock, transaction
from worker.store.forgetting import forget_old_replies
from worker.store.journal import Chosen, SubmissionAnswer, journal_submission_answers

Sql = Callable[..., list[tuple[Any, ...]]]
Reply = Callable[..., None]
Facts = Callable[..., dict[str, Any]]
LEAD, KEEP = "lead-final", timedelta(days=400)
DELIVERED = {"deliveries": [{"id": 70, "name": "D70", "status": "Sold", "buyerId": 4}]}
PENDING = {"status": "Pending", "response": {"code": 1, "leadId": 7, "payout": "Pending", **DELIVERED}}
BUYERS = [{"id": 4, "name": "Marlow", "status": "Sold", "revenue": "12.00"}]
APPROVED = {"status": "Approved", "response": {"code": 1, "leadId": 7, "payout": "2.00", "buyers": BUYERS}}


@pytest.fixture
def final(engine: Engine, reply: Reply) -> None:
    """A lead whose deliveries only its first reply told, and its buyers only the second."""
    reply(LEAD, PENDING)
    reply(LEAD, APPROVED)
    persist_replies(engine)


def age(sql: Sql, days: int, where: str = "true") -> None:
    sql(f"update resolver.replies set received_at = now() - %s * interval '1 day' where {where}", days)


def count_replies(sql: Sql) -> int:
    ((count,),) = sql("select count(*) from resolver.replies")
    return int(count)


def known(sql: Sql) -> list[list[tuple[Any, ...]]]:
    views = ("leads", "buyers", "deliveries", "events")
    return [sql(f"select to_jsonb(v) - 'last_seen_at' from reporting.{view} v") for view in views]


@pytest.mark.usefixtures("final")
@pytest.mark.parametrize(("days", "keep", "left"), [(401, KEEP, 0), (399, KEEP, 2), (9999, None, 2)])
def test_replies_are_kept_as_long_as_the_setting_says(
    engine: Engine, sql: Sql, days: int, keep: timedelta | None, left: int
) -> None:
    age(sql, days)
    before = known(sql)
    sweep(engine, keep_replies=keep)
    assert count_replies(sql) == left
    assert sql("select count(*) from resolver.outcomes where journal_cut_at is not null") == [(int(not left),)]
    assert known(sql) == before


@pytest.mark.parametrize("state", ["queued", "pending", "quarantined"])
def test_the_replies_of_an_open_lead_are_kept(engine: Engine, reply: Reply, sql: Sql, state: str) -> None:
    reply(LEAD, PENDING)
    persist_replies(engine)
    age(sql, 9999)
    sql("update resolver.leads set state = %s", state)
    sweep(engine, keep_replies=KEEP)
    assert count_replies(sql) == 1


def test_the_replies_of_an_abandoned_lead_are_forgotten(engine: Engine, reply: Reply, sql: Sql) -> None:
    reply(LEAD, PENDING)
    persist_replies(engine)
    age(sql, 401)
    sql("update resolver.leads set state = 'abandoned'")
    sweep(engine, keep_replies=KEEP)
    assert count_replies(sql) == 0


@pytest.mark.usefixtures("final")
@pytest.mark.parametrize("parked", [None, "cut short"])
def test_a_reply_that_is_not_persisted_is_kept(engine: Engine, sql: Sql, parked: str | None) -> None:
    sql("insert into resolver.unpersisted select max(id), max(lead_id), 0, %s from resolver.replies", parked)
    age(sql, 401)
    sweep(engine, keep_replies=KEEP)
    assert count_replies(sql) == 1


@pytest.mark.usefixtures("final")
def test_a_step_is_bounded_and_takes_the_oldest(engine: Engine, sql: Sql) -> None:
    age(sql, 401)
    age(sql, 500, "claim_id = 2")
    with transaction(engine) as connection:
        now = read_clock(connection)
        assert forget_old_replies(connection, now - KEEP, now, most=1) == 1
    assert sql("select claim_id from resolver.replies") == [(1,)]


@pytest.mark.usefixtures("final")
def test_a_lead_that_somebody_holds_is_left_for_the_next_sweep(engine: Engine, sql: Sql) -> None:
    age(sql, 401)
    with transaction(engine) as persisting:
        persisting.execute(text("select from resolver.leads for no key update"))
        sweep(engine, keep_replies=KEEP)
        assert count_replies(sql) == 2
    sweep(engine, keep_replies=KEEP)
    assert count_replies(sql) == 0


@pytest.fixture
def cut(engine: Engine, final: None, sql: Sql) -> None:
    """The same lead, without its first reply."""
    del final
    age(sql, 401, "claim_id = 1")
    sweep(engine, keep_replies=KEEP)
    assert count_replies(sql) == 1


@pytest.mark.usefixtures("cut")
def test_a_replay_of_half_a_journal_loses_no_fact(engine: Engine, facts_of: Facts, sql: Sql) -> None:
    before = known(sql)
    for _ in range(2):
        (page,) = replay(engine, Chosen(), dry_run=False)
        assert (page.leads, page.incomplete, page.changes) == (1, 1, ())
    assert known(sql) == before
    assert facts_of(LEAD, "deliveries", "buyers") == {"deliveries": 1, "buyers": 1}


@pytest.mark.usefixtures("cut")
def test_a_better_reader_still_reads_what_is_left(
    engine: Engine, facts_of: Facts, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify, "STATUS_WORDS", {**classify.STATUS_WORDS, "clawedback": State.RETURNED})
    sql("""update resolver.replies set body = replace(body, '"Approved"', '"Clawed Back"')""")
    (page,) = replay(engine, Chosen(), dry_run=False)
    assert [change.facts["state"] for change in page.changes] == [("approved", "returned")]
    assert facts_of(LEAD, "state", "deliveries") == {"state": "returned", "deliveries": 1}
    assert sql("select cause from reporting.events where to_state = 'returned'") == [
        ("replayed: LeadByte says: Clawedback",)
    ]


@pytest.mark.usefixtures("cut")
def test_the_command_says_how_many_journals_were_incomplete(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert run_command(["replay", "--json"]) == 0
    assert '"incomplete": 1' in capsys.readouterr().out
    assert run_command(["replay"]) == 0
    assert "of 1 old replies were forgotten" in capsys.readouterr().out


@pytest.mark.usefixtures("cut")
def test_a_reply_that_comes_after_the_cut_joins_what_is_known(engine: Engine, reply: Reply, facts_of: Facts) -> None:
    reply(LEAD, {**APPROVED, "status": "Returned"})
    persist_replies(engine)
    assert facts_of(LEAD, "state", "deliveries") == {"state": "returned", "deliveries": 1}


def test_the_answer_to_a_submission_is_not_told_again_when_it_was_forgotten(
    engine: Engine, lead_of: Callable[[str], int], facts_of: Facts, sql: Sql
) -> None:
    def hand_over() -> None:
        body = json.dumps({"status": "Success", "records": [{"queueId": LEAD, **APPROVED}]})
        with transaction(engine) as connection:
            journal_submission_answers(connection, "acme", [SubmissionAnswer(LEAD, body, None)])
        persist_replies(engine)

    lead_of(LEAD)
    hand_over()
    sql("update resolver.outcomes set revenue = 9")
    age(sql, 401)
    sweep(engine, keep_replies=KEEP)
    hand_over()
    assert count_replies(sql) == 0
    assert facts_of(LEAD, "revenue") == {"revenue": 9}
