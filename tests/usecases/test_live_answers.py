"""LeadByte's answer to a submission, handed over with Live Buyer Responses on: settled without a poll."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from worker.intake import track
from worker.results import persist_replies
from worker.sandbox import SandboxSettings, running_sandbox
from worker.submissions import read_submissions

Sql = Callable[..., list[tuple[Any, ...]]]

FIRST, SECOND = "ac1e0206-12eaee18-63765b37-471b-f60cd31d", "ac1e0206-6d6fd2fa-62ce91e7-ba33-5cc458e6"
RESPONSE = {"code": 1, "response": "OK", "info": [], "leadId": 7185867, "rejectionId": None, "payout": "2.00"}
LEAD_DATA = {"email": "someone@example.org"}


def approve(queue_id: str) -> dict[str, Any]:
    return {"queueId": queue_id, "status": "Approved", "response": {**RESPONSE, "lead": LEAD_DATA}}


def hand_over(engine: Engine, answer: object) -> None:
    list(track(engine, "acme", read_submissions(io.BytesIO(json.dumps(answer, indent=1).encode()))))
    persist_replies(engine)


def test_a_final_answer_settles_the_lead_without_a_poll(engine: Engine, sql: Sql) -> None:
    buyers = [{"id": 4, "name": "Acme", "status": "Sold", "revenue": "12.50"}]
    hand_over(engine, {"status": "Success", "records": [approve(FIRST)], "buyers": buyers})
    assert sql("select state, polls, sold, revenue from reporting.leads") == [("approved", 0, True, 12.5)]
    assert sql("select cause from reporting.events") == [("tracked",), ("LeadByte says: Approved",)]
    assert sql("select count(*) from resolver.watches") == [(0,)]
    assert "someone@" not in str(sql("select body from resolver.replies"))


def test_handing_an_answer_over_twice_tells_it_once(engine: Engine, sql: Sql) -> None:
    for _ in range(2):
        hand_over(engine, {"status": "Success", "records": [approve(FIRST)]})
    assert sql("select count(*) from resolver.replies") == [(1,)]
    assert sql("select count(*) from reporting.events") == [(2,)]


def test_what_stands_around_several_records_is_attributed_to_none(engine: Engine, sql: Sql) -> None:
    answer = {"records": [approve(FIRST), approve(SECOND)], "buyers": [{"id": 4, "status": "Sold", "revenue": "9"}]}
    hand_over(engine, answer)
    assert sql("select state, buyers from reporting.leads") == [("approved", None), ("approved", None)]


FINAL = approve(FIRST)
BARE = {name: value for name, value in FINAL.items() if name != "queueId"}


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "Success", "results": [FINAL]},
        {"records": FINAL},
        {"record": FINAL},
        {"result": [FINAL]},
        FINAL,
        [FINAL],
        [[FINAL]],
        {"data": {"records": [FINAL]}},
        {"records": {FIRST: BARE}},
        {FIRST: BARE},
        {"records": {"0": FINAL}},
        {"status": "Success", "queueId": FIRST, "records": [BARE]},
        {"RECORDS": [{"QUEUEREF": FIRST, "STATUS": "APPROVED", "RESPONSE": FINAL["response"]}]},
        {"records": [{**BARE, "queue_ref": FIRST}]},
        {"records": [{**BARE, "id": FIRST}]},
        {"records": [], "results": [FINAL]},
        {"status": "Success", "records": json.dumps([FINAL])},
    ],
    ids=lambda answer: str(answer)[:50],
)
def test_a_verdict_settles_the_lead_in_every_shape_that_polling_reads(engine: Engine, sql: Sql, answer: object) -> None:
    hand_over(engine, answer)
    rows = sql("select queue_id, state, polls, lead_id, payout from reporting.leads")
    assert rows == [(FIRST, "approved", 0, "7185867", 2)]
    assert sql("select count(*) from resolver.watches") == [(0,)]
    assert "someone@" not in str(sql("select body from resolver.replies"))


@pytest.mark.parametrize(
    ("status", "response", "state"),
    [
        ("In Quarantine", {"quarantineId": "2932682"}, "quarantined"),
        ("Approved", {"code": 1, "leadId": 7, "payout": "Pending"}, "pending"),
        ("Rejected", {"code": -5}, "rejected"),
    ],
)
def test_every_other_state_of_an_answer_is_recorded_as_well(
    engine: Engine, sql: Sql, status: str, response: dict[str, Any], state: str
) -> None:
    hand_over(engine, {"record": {"queueRef": FIRST, "status": status, "response": response}})
    assert sql("select state, polls, quarantine_id from reporting.leads") == [(state, 0, response.get("quarantineId"))]
    assert sql("select count(*) from resolver.watches") == [(0 if state == "rejected" else 1,)]


@pytest.mark.parametrize("entry", [{"status": "Queued", "code": 1}, {"status": "Odd"}, {}])
def test_an_answer_without_a_verdict_only_records_the_lead(engine: Engine, sql: Sql, entry: dict[str, Any]) -> None:
    hand_over(engine, {"status": "Success", "code": 1, "results": [{"queueId": FIRST, **entry}]})
    assert sql("select state from reporting.leads") == [("queued",)]
    assert sql("select count(*) from resolver.replies") == [(0,)]
    assert sql("select count(*) from resolver.watches") == [(1,)]


def test_the_sandboxs_live_answers_are_understood(engine: Engine, sql: Sql) -> None:
    with running_sandbox(SandboxSettings(live_buyer_responses=True, preset="plain")) as box:
        leads = {"leads": [{"email": f"{n}@example.org"} for n in range(20)]}
        answer = requests.post(f"{box.base_url}/leads", json=leads, headers={"X_KEY": "sandbox-key"}, timeout=60)
        hand_over(engine, answer.json())
        truth = box.truth()
    ours = {row[0]: row[1] for row in sql("select queue_id, state from reporting.leads")}
    assert ours == {queue_id: lead["status"].lower() for queue_id, lead in truth.items()}
