"""Reading the journal again: nothing changes while the reader is the same, and a better reader's facts are recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from worker.cli.app import run_command
from worker.domain import classify
from worker.domain.lifecycle import State
from worker.intake import Submission, track
from worker.replaying import replay
from worker.results import persist_replies
from worker.store.db import transaction
from worker.store.journal import Chosen, read_snapshot

Sql = Callable[..., list[tuple[Any, ...]]]


def record(queue_id: str, status: str, **response: Any) -> str:
    record = {"queueId": queue_id, "status": status, "processed": "2022-11-17T16:03:04Z", "response": response}
    return json.dumps({"status": "Success", "records": [record]})


@pytest.fixture
def told(engine: Engine, sql: Sql) -> None:
    """Three leads: one told in a word that nobody knows yet (number 1), one refused, one approved and sold."""
    bodies = {
        "replay-sold": record(
            "replay-sold", "Approved", code=1, leadId=7, buyers=[{"id": 1, "status": "Sold", "revenue": "9"}]
        ),
        "replay-refused": record("replay-refused", "Rejected", code=-8, response="HLR rejection"),
        "replay-odd": record("replay-odd", "Delivered", code=1, leadId=8, payout="2.00"),
    }
    list(track(engine, "acme", map(Submission, bodies)))
    for number, (queue_id, body) in enumerate(bodies.items()):
        sql(
            "insert into resolver.replies (lead_id, claim_id, received_at, http_status, body)"
            " select id, %s, now(), 200, %s from resolver.leads where queue_id = %s",
            number,
            body,
            queue_id,
        )
    sql("insert into resolver.unpersisted (reply_id, lead_id) select id, lead_id from resolver.replies")
    persist_replies(engine)


def snapshot(engine: Engine) -> dict[int, dict[str, Any]]:
    with transaction(engine) as connection:
        return read_snapshot(connection, [1, 2, 3])


@pytest.mark.usefixtures("told")
def test_replaying_the_journal_gives_todays_state(engine: Engine, sql: Sql) -> None:
    before, events = snapshot(engine), sql("select * from resolver.lead_events order by id")
    (page,) = replay(engine, Chosen(), dry_run=False)
    assert (page.leads, page.changes) == (3, ())
    assert snapshot(engine) == before
    assert sql("select * from resolver.lead_events order by id") == events


@pytest.mark.usefixtures("told")
def test_a_better_reader_settles_a_lead_without_asking_again(
    engine: Engine, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify, "STATUS_WORDS", {**classify.STATUS_WORDS, "delivered": State.APPROVED})
    before = snapshot(engine)
    (rehearsed,) = replay(engine, Chosen(), dry_run=True)
    assert snapshot(engine) == before
    (replayed,) = replay(engine, Chosen(), dry_run=False)
    assert replayed == rehearsed
    (change,) = replayed.changes
    assert change.queue_id == "replay-odd"
    assert change.facts["state"] == ("queued", "approved")
    assert sql("select cause from resolver.lead_events where lead_id = 1 order by id desc limit 1") == [
        ("replayed: LeadByte says: Delivered",)
    ]
    assert sql("select count(*) from resolver.watches where lead_id = 1") == [(0,)]
    assert [page.changes for page in replay(engine, Chosen(), dry_run=False)] == [()]


@pytest.mark.usefixtures("told")
def test_what_others_write_while_a_replay_waits_for_them_is_no_change_of_its_own(
    engine: Engine, sql: Sql, database_url: str
) -> None:
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_url) as persisting:
        persisting.execute("update resolver.leads set reference = 'theirs' where id = 1")
        replaying = pool.submit(lambda: list(replay(engine, Chosen(), dry_run=False)))
        while not sql("select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"):
            pass
        persisting.commit()
        assert [page.changes for page in replaying.result()] == [()]


@pytest.mark.usefixtures("told")
def test_facts_of_a_state_that_a_lead_cannot_go_to_do_not_replace_those_of_its_own(
    engine: Engine, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved = record("replay-odd", "Approved", code=1, leadId=8)  # whether it was sold is not told
    sql("update resolver.replies set body = %s where position('replay-odd' in body) > 0", approved)
    assert [len(page.changes) for page in replay(engine, Chosen(), dry_run=False)] == [1]
    before = snapshot(engine)
    for reads_as in (State.REJECTED, State.PENDING):
        monkeypatch.setattr(classify, "STATUS_WORDS", {**classify.STATUS_WORDS, "approved": reads_as})
        assert [page.changes for page in replay(engine, Chosen(), dry_run=False)] == [()]
        assert snapshot(engine) == before


@pytest.mark.usefixtures("told")
def test_a_parked_reply_is_taken_up_by_a_replay(engine: Engine, sql: Sql) -> None:
    list(track(engine, "acme", [Submission("replay-parked")]))
    sql(
        "with r as (insert into resolver.replies (lead_id, claim_id, received_at, http_status, body)"
        "   select id, 9, now(), 200, %s from resolver.leads where queue_id = 'replay-parked' returning id, lead_id)"
        " insert into resolver.unpersisted (reply_id, lead_id, attempts, parked_because)"
        " select id, lead_id, 3, 'cut short' from r",
        record("replay-parked", "Approved", code=1, leadId=9),
    )
    persist_replies(engine)
    (rehearsed,) = replay(engine, Chosen(), dry_run=True)
    assert sql("select count(*) from resolver.unpersisted") == [(1,)]
    (replayed,) = replay(engine, Chosen(), dry_run=False)
    assert replayed == rehearsed
    assert [(change.queue_id, change.facts["state"]) for change in replayed.changes] == [
        ("replay-parked", ("queued", "approved"))
    ]
    assert sql("select count(*) from resolver.unpersisted") == [(0,)]
    assert [page.changes for page in replay(engine, Chosen(), dry_run=False)] == [()]


@pytest.mark.usefixtures("told")
def test_a_replay_keeps_to_the_leads_that_were_chosen(engine: Engine) -> None:
    assert [page.leads for page in replay(engine, Chosen(queue_ids=["replay-odd"]), dry_run=True)] == [1]
    assert list(replay(engine, Chosen(account="somebody-else"), dry_run=True)) == []


@pytest.mark.usefixtures("told")
def test_the_command_says_what_would_change(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr(classify, "STATUS_WORDS", {**classify.STATUS_WORDS, "delivered": State.APPROVED})
    assert run_command(["replay", "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["leads"], said["changed"], said["dry_run"]) == (3, 1, True)
    assert run_command(["replay"]) == 0
    assert "3 leads replayed, 1 changed" in capsys.readouterr().out
