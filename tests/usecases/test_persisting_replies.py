"""Persistence: what each published reply becomes, once, whatever happens while it does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine

from worker import folding, results
from worker.folding import Folding
from worker.results import persist_replies
from worker.store.db import transaction
from worker.store.worklist import JournalledReply, attempt_replies

Sql = Callable[..., list[tuple[Any, ...]]]
Reply = Callable[..., None]
FactsOf = Callable[..., dict[str, Any]]

# As published: "API Queue" (approved), its 2018 edition (pending), "Result codes" (refused).
APPROVED: dict[str, Any] = {
    "status": "Approved",
    "processed": "2022-11-17T16:03:04Z",
    "response": {
        "code": 1, "response": "OK", "info": [], "leadId": 7185867, "rejectionId": None, "processTime": 0.43,
        "timestamp": "2022-11-17T16:03:04Z", "payout": "2.00",
    },
}  # fmt: skip
PENDING: dict[str, Any] = {
    "status": "Pending",
    "response": {
        "code": 1, "response": "OK", "info": [], "leadId": 5697371, "processTime": 0.43,
        "timestamp": "2018-07-21T12:59:03Z", "payout": "Pending",
    },
}  # fmt: skip
REFUSED: dict[str, Any] = {
    "status": "Rejected",
    "response": {
        "code": -8, "response": "HLR rejection", "info": {"status": "UNDELIV", "code": "EC_UNKNOWN_SUBSCRIBER"},
        "leadId": None, "rejectionId": 41, "processTime": 0.77, "timestamp": "2016-03-17T11:53:39Z",
    },
}  # fmt: skip
UNSOLD = {"status": "Rejected", "response": {**APPROVED["response"], "payout": "0.00"}}
QUEUED = {"status": "Queued"}
QUARANTINED = {"status": "Quarantined", "response": {"response": "Quarantined", "quarantineId": 2932682}}
RETURNED = {"status": "Returned", "response": {**APPROVED["response"], "payout": "0.00"}}
SOLD_TO_ONE = {
    "buyers": [
        {"id": 4, "bid": "B4", "name": "Buyer Four", "status": "Sold", "revenue": "12.50", "currency": "GBP"},
        {"id": 5, "bid": "B5", "name": "Buyer Five", "status": "Unsold", "revenue": "0.00", "currency": "GBP"},
    ],
    "deliveries": [
        {"id": 70, "name": "D70", "status": "Sold", "buyerId": 4},
        {"id": 71, "name": "D71", "status": "Skipped", "reason": "Rule mismatch", "buyerId": 5},
    ],
    "campaign": {"id": 565, "name": "Life cover"},
    "supplier": {"id": 9, "name": "Acme media", "sid": "SID9"},
}
LEAD = "ac1e0206-12eaee18-63765b37-471b-f60cd31d"
RECORDED = ("reporting.leads", "reporting.buyers", "reporting.deliveries", "reporting.events")


def dump(sql: Sql) -> list[Any]:
    """All that reporting can see."""
    return [sql(f"select to_jsonb(v)::text from {view} v order by 1") for view in RECORDED]


def put_on_the_work_list_again(sql: Sql) -> None:
    sql("insert into resolver.unpersisted (reply_id, lead_id) select id, lead_id from resolver.replies")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (APPROVED, {"state": "approved", "campaign_accepted": True, "lead_id": "7185867", "payout": 2.0, "sold": None}),
        (APPROVED | SOLD_TO_ONE, {"sold": True, "buyers": 1, "revenue": 12.5, "currency": "GBP", "deliveries": 2,
                                  "deliveries_sold": 1, "campaign_id": "565", "supplier_name": "Acme media"}),
        (PENDING, {"state": "pending", "campaign_accepted": True, "payout": None, "sold": None, "resolved_at": None}),
        (REFUSED, {"state": "rejected", "campaign_accepted": False, "result_code": -8, "rejection_id": "41",
                   "result_reason": "HLR rejection", "sold": False, "buyers": None, "deliveries": None}),
        (UNSOLD, {"state": "rejected", "campaign_accepted": True, "sold": False}),
        (QUARANTINED, {"state": "quarantined", "quarantine_id": "2932682", "campaign_accepted": None, "sold": None}),
        (RETURNED, {"state": "returned", "campaign_accepted": True}),
        (QUEUED, {"state": "queued", "campaign_accepted": None, "sold": None, "resolved_at": None}),
        (APPROVED | {"buyers": [], "deliveries": []}, {"buyers": 0, "deliveries": 0, "sold": False, "revenue": None}),
    ],
    ids=["approved", "sold", "pending", "refused", "unsold", "quarantined", "returned", "queued", "empty blocks"],
)  # fmt: skip
def test_a_published_reply_becomes_the_facts_it_tells(
    engine: Engine, reply: Reply, facts_of: FactsOf, record: dict[str, Any], expected: dict[str, Any]
) -> None:
    reply(LEAD, record)
    assert persist_replies(engine).replies == 1
    assert facts_of(LEAD, *expected) == expected


def test_the_moment_of_resolution_is_leadbytes_own(engine: Engine, reply: Reply, sql: Sql) -> None:
    reply(LEAD, APPROVED)
    persist_replies(engine)
    assert sql("select resolved_at = timestamptz '2022-11-17T16:03:04Z' from reporting.leads") == [(True,)]


def test_a_resolution_in_the_future_is_dated_by_its_reply(engine: Engine, reply: Reply, sql: Sql) -> None:
    reply(LEAD, APPROVED | {"processed": "2031-01-01T00:00:00Z"})
    persist_replies(engine)
    assert sql("select l.resolved_at = r.received_at from resolver.leads l join resolver.replies r on true") == [
        (True,)
    ]


def test_a_verdict_ends_the_watch_and_keeps_its_counters(engine: Engine, reply: Reply, sql: Sql) -> None:
    reply(LEAD, APPROVED)
    sql("update resolver.watches set polls = 7, failures = 2")
    persist_replies(engine)
    assert sql("select count(*) from resolver.watches") == [(0,)]
    assert sql("select polls, failures from reporting.leads") == [(7, 2)]


def test_a_lead_still_open_stays_watched(engine: Engine, reply: Reply, sql: Sql) -> None:
    reply(LEAD, PENDING)
    persist_replies(engine)
    assert sql("select count(*) from resolver.watches") == [(1,)]


def test_persisting_twice_changes_nothing(engine: Engine, reply: Reply, sql: Sql) -> None:
    reply(LEAD, APPROVED | SOLD_TO_ONE)
    persist_replies(engine)
    before = dump(sql)
    assert persist_replies(engine).replies == 0
    assert dump(sql) == before


HISTORIES: dict[str, list[dict[str, Any]]] = {
    "one": [APPROVED | SOLD_TO_ONE],
    "pending first": [PENDING, APPROVED | SOLD_TO_ONE],
    "released and held again": [QUARANTINED, QUEUED, QUARANTINED, QUEUED],
    "given back by its buyer": [APPROVED | SOLD_TO_ONE, RETURNED | {"buyers": [{"id": 4, "status": "Returned"}]}],
    "returned and billed again": [APPROVED | SOLD_TO_ONE, RETURNED, APPROVED],
    "regressed": [APPROVED, PENDING, QUEUED],
    "rejected, then sold by hand": [REFUSED, APPROVED | SOLD_TO_ONE],
}


@pytest.mark.parametrize("name", HISTORIES)
def test_replies_persisted_again_change_nothing(engine: Engine, reply: Reply, sql: Sql, name: str) -> None:
    for record in HISTORIES[name]:
        reply(LEAD, record)
        persist_replies(engine)
    before = dump(sql)
    put_on_the_work_list_again(sql)
    assert persist_replies(engine).replies == len(HISTORIES[name])
    assert dump(sql) == before


@pytest.mark.parametrize("name", HISTORIES)
def test_an_old_reply_persisted_again_alone_does_not_undo_newer_ones(
    engine: Engine, reply: Reply, sql: Sql, name: str
) -> None:
    for record in HISTORIES[name]:
        reply(LEAD, record)
    persist_replies(engine)
    before = dump(sql)
    sql("insert into resolver.unpersisted (reply_id, lead_id) select min(id), lead_id from resolver.replies group by 2")
    persist_replies(engine)
    assert dump(sql) == before


def test_a_replay_together_with_news_takes_in_both(engine: Engine, reply: Reply, facts_of: FactsOf, sql: Sql) -> None:
    reply(LEAD, PENDING)
    persist_replies(engine)
    put_on_the_work_list_again(sql)
    reply(LEAD, APPROVED | SOLD_TO_ONE)
    persist_replies(engine)
    assert facts_of(LEAD, "state", "payout", "buyers") == {"state": "approved", "payout": 2.0, "buyers": 1}
    assert sql("select to_state from reporting.events") == [("queued",), ("pending",), ("approved",)]


def test_a_replay_finds_a_verdict_that_was_not_understood_before(
    engine: Engine, reply: Reply, facts_of: FactsOf, sql: Sql
) -> None:
    reply(LEAD, body="<html>not understood</html>")
    persist_replies(engine)
    body = f'{{"records":[{{"queueId":"{LEAD}","status":"Rejected","code":-4,"reason":"Campaign cap reached"}}]}}'
    sql("update resolver.replies set body = %s", body)  # as if by a better parser
    put_on_the_work_list_again(sql)
    persist_replies(engine)
    assert facts_of(LEAD, "state", "result_code") == {"state": "rejected", "result_code": -4}
    assert sql("select cause from reporting.events offset 1") == [("replayed: LeadByte says: Rejected",)]
    assert sql("select count(*) from resolver.watches") == [(0,)]


def test_two_workers_persisting_at_once_record_each_reply_once(engine: Engine, reply: Reply, sql: Sql) -> None:
    for number in range(30):
        reply(f"lead-{number:05}", APPROVED | SOLD_TO_ONE)
    together = Barrier(3)

    def work(_: int) -> int:
        together.wait()
        return persist_replies(engine).replies

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(work, range(3))) == 30
    assert sql("select count(*), count(distinct queue_id) from reporting.events where to_state = 'approved'") == [
        (30, 30)
    ]
    assert sql("select count(*) from resolver.unpersisted") == [(0,)]


def test_several_replies_of_one_lead_are_folded_in_the_order_they_came(engine: Engine, reply: Reply, sql: Sql) -> None:
    for record in (QUARANTINED, PENDING, APPROVED | SOLD_TO_ONE, RETURNED):
        reply(LEAD, record)
    persist_replies(engine)
    assert sql("select from_state, to_state from reporting.events") == [
        (None, "queued"),
        ("queued", "quarantined"),
        ("quarantined", "pending"),
        ("pending", "approved"),
        ("approved", "returned"),
    ]


def test_a_regression_is_an_event_and_keeps_the_state(
    engine: Engine, reply: Reply, facts_of: FactsOf, sql: Sql
) -> None:
    for record in (APPROVED, PENDING):
        reply(LEAD, record)
        persist_replies(engine)
    assert facts_of(LEAD, "state", "payout") == {"state": "approved", "payout": 2.0}
    assert sql("select from_state, to_state, cause from reporting.events offset 2") == [
        ("approved", "approved", "regressed: LeadByte says: Pending; kept approved")
    ]


def test_a_block_that_is_absent_later_erases_nothing(engine: Engine, reply: Reply, facts_of: FactsOf) -> None:
    reply(LEAD, APPROVED | SOLD_TO_ONE)
    persist_replies(engine)
    before = facts_of(LEAD)
    reply(LEAD, {"status": "Approved"})
    persist_replies(engine)
    assert facts_of(LEAD) == before


def test_rows_that_a_reply_leaves_as_they_are_are_not_written_again(engine: Engine, reply: Reply, sql: Sql) -> None:
    written = "select key, xmin::text from resolver.buyers order by key"
    reply(LEAD, PENDING | SOLD_TO_ONE)
    persist_replies(engine)
    (four, five) = sql(written)
    reply(LEAD, APPROVED | {"buyers": [{"id": 4}, {"id": 5, "status": "Skipped"}]})
    persist_replies(engine)
    assert sql(written)[0] == four
    assert sql(written)[1] != five


RETURNED_BY_ITS_BUYER: dict[str, Any] = RETURNED | {"buyers": [{"id": 4, "status": "Returned"}]}


def test_a_sale_that_a_buyer_gives_back_brings_no_money(engine: Engine, reply: Reply, facts_of: FactsOf) -> None:
    for record in (APPROVED | SOLD_TO_ONE, RETURNED_BY_ITS_BUYER, {"status": "Returned"}):
        reply(LEAD, record)
        persist_replies(engine)
    assert facts_of(LEAD, "state", "sold", "revenue") == {"state": "returned", "sold": False, "revenue": 0}


def test_a_delivery_has_been_seen_when_a_reply_showed_it(engine: Engine, reply: Reply, sql: Sql) -> None:
    for blocks in (SOLD_TO_ONE, {"deliveries": [{"id": 71, "status": "Assigned"}]}, {}):
        reply(LEAD, APPROVED | blocks)
    persist_replies(engine)
    seconds = "extract(second from {})::int"
    assert sql(
        f"select delivery_id, {seconds.format('first_seen_at')}, {seconds.format('last_seen_at')}"
        " from reporting.deliveries order by 1"
    ) == [("70", 1, 1), ("71", 1, 2)]


def abandon(sql: Sql) -> None:
    sql("update resolver.leads set state = 'abandoned', state_reason = 'no verdict within 7 days'")
    sql("delete from resolver.watches")


def test_a_verdict_about_an_abandoned_lead_counts(engine: Engine, reply: Reply, facts_of: FactsOf, sql: Sql) -> None:
    reply(LEAD, APPROVED)
    abandon(sql)
    persist_replies(engine)
    assert facts_of(LEAD, "state") == {"state": "approved"}
    assert sql("select from_state, to_state from reporting.events offset 1") == [
        ("abandoned", "queued"),
        ("queued", "approved"),
    ]


def test_an_abandoned_lead_is_not_reopened_by_a_reply_without_verdict(
    engine: Engine, reply: Reply, facts_of: FactsOf, sql: Sql
) -> None:
    reply(LEAD, PENDING)
    abandon(sql)
    persist_replies(engine)
    assert facts_of(LEAD, "state", "lead_id", "state_reason") == {
        "state": "abandoned", "lead_id": "5697371", "state_reason": "no verdict within 7 days",
    }  # fmt: skip


def test_a_reply_that_kills_its_worker_is_parked_after_three_and_stops_no_other(
    engine: Engine, reply: Reply, facts_of: FactsOf, sql: Sql
) -> None:
    reply("lead-poison", APPROVED)
    for round_ in range(3):  # the worker dies after the attempt is noted: nothing else of it is left
        with transaction(engine) as connection:
            assert len(attempt_replies(connection, 1, suspects=round_ > 0).reply_ids) == 1
    reply("lead-healthy", APPROVED)
    assert persist_replies(engine).replies == 1
    assert facts_of("lead-healthy", "state") == {"state": "approved"}
    assert facts_of("lead-poison", "state") == {"state": "queued"}
    assert sql("select parked_because from resolver.unpersisted") == [("persisting it was cut short 3 times in a row",)]


def test_a_reply_that_cannot_be_folded_is_parked_and_stops_no_other(
    engine: Engine, reply: Reply, facts_of: FactsOf, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        reply(f"lead-{number:05}", APPROVED)
    fold = folding.fold_reply

    def fail_on_one(lead: Folding, told: JournalledReply) -> None:
        if lead.queue_id == "lead-00002":
            raise ValueError("a defect of ours")
        fold(lead, told)

    monkeypatch.setattr(results, "fold_reply", fail_on_one)
    for _ in range(3):
        with pytest.raises(ValueError, match="a defect"):
            persist_replies(engine)
    persist_replies(engine)
    assert sql("select count(*) from reporting.leads where state = 'approved'") == [(5,)]
    assert facts_of("lead-00002", "state") == {"state": "queued"}
    assert sql("select count(*) from resolver.unpersisted where parked_because is not null") == [(1,)]


def test_a_parked_reply_is_no_reason_to_leave_the_ones_after_it(engine: Engine, reply: Reply, sql: Sql) -> None:
    for number in range(3):
        reply(f"lead-{number:05}", APPROVED)
    sql(
        "update resolver.unpersisted set attempts = 3 where reply_id = (select min(reply_id) from resolver.unpersisted)"
    )
    sql("update resolver.unpersisted set attempts = 1 where attempts = 0")
    assert persist_replies(engine).replies == 2


def test_an_attempt_under_way_is_not_lost_to_others_who_count_it(engine: Engine, reply: Reply, sql: Sql) -> None:
    reply(LEAD, APPROVED)
    with transaction(engine) as connection:
        mine = attempt_replies(connection, 10)
    for _ in range(3):  # other workers take it for a suspect, and the last one parks it
        with transaction(engine) as connection:
            attempt_replies(connection, 1, suspects=True)
    assert sql("select parked_because is not null from resolver.unpersisted") == [(True,)]
    assert results._persist_attempted(engine, mine).replies == 1
    assert sql("select count(*) from resolver.unpersisted") == [(0,)]
