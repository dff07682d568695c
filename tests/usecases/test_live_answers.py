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
