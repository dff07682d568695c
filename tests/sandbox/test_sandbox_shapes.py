"""Every published shape of LeadByte's API comes out of the sandbox field by field."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from worker.sandbox import SandboxClient
from worker.sandbox.stories import REFUSALS

Start = Callable[..., SandboxClient]
Ask = Callable[..., tuple[int, Any]]
Poll = Callable[[SandboxClient, str], dict[str, Any]]
NOTHING: frozenset[str] = frozenset()
STAMP = "2022-11-17T16:03:04Z"


def test_a_submission_is_answered_as_published(box: SandboxClient, ask: Ask) -> None:
    status, answer = ask(
        box, "POST", "leads", {"campid": "LIFE-UK", "sid": "CLEAR", "lead": {"email": "a@example.com"}}
    )
    queue_id = answer["results"][0]["queueId"]
    assert (status, answer) == (
        200,
        {
            "status": "Success",
            "code": 1,
            "message": "",
            "results": [{"queueId": queue_id, "status": "Queued", "code": 1}],
        },
    )
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{8}-63765b38-[0-9a-f]{4}-[0-9a-f]{8}", queue_id)
    truth = box.truth()[queue_id]
    assert (truth["campaign"]["id"], truth["supplier"]["id"]) == (565, 31)


@pytest.mark.parametrize("body", [[{"email": "a"}, {"email": "b"}], {"leads": [{"email": "a"}, {"email": "b"}]}])
def test_several_leads_get_an_entry_each(box: SandboxClient, ask: Ask, body: object) -> None:
    _, answer = ask(box, "POST", "leads", body)
    assert len({entry["queueId"] for entry in answer["results"]}) == 2


@pytest.mark.parametrize("body", [{}, [], {"leads": []}, {"leads": "x"}, None])
def test_a_submission_without_a_lead_is_an_error(box: SandboxClient, ask: Ask, body: object) -> None:
    _, answer = ask(box, "POST", "leads", body)
    assert set(answer) == {"status", "message", "errors"}
    assert answer["status"] == "Error"


def test_an_approved_lead_reads_as_published(start: Start, ask: Ask) -> None:
    box = start(appended=NOTHING)
    _, answer = ask(box, "GET", "apiqueue/sandbox-approved-0001")
    truth = box.truth()["sandbox-approved-0001"]
    response = answer["records"][0]["response"]
    assert answer == {
        "status": "Success",
        "code": 1,
        "message": "OK",
        "records": [
            {
                "queueId": "sandbox-approved-0001",
                "status": "Approved",
                "processed": "2022-11-17T16:03:04Z",
                "response": {
                    "code": 1,
                    "response": "OK",
                    "info": [],
                    "leadId": truth["lead_id"],
                    "rejectionId": None,
                    "processTime": response["processTime"],
                    "timestamp": "2022-11-17T16:03:04Z",
                    "payout": truth["payout"],
                },
            }
        ],
    }
    assert isinstance(response["leadId"], int)
    assert isinstance(response["processTime"], float)
    assert list(response)[:5] == ["code", "response", "info", "leadId", "rejectionId"]


def test_a_pending_lead_reads_as_published(start: Start, poll: Poll) -> None:
    record = poll(start(appended=NOTHING), "sandbox-pending-0001")
    response = record["response"]
    assert record["status"] == "Pending"
    assert list(response) == ["code", "response", "info", "leadId", "processTime", "timestamp", "payout"]
    assert (response["code"], response["response"], response["info"], response["payout"]) == (1, "OK", [], "Pending")


def test_a_refusal_reads_as_published_plus_its_rejection_id(start: Start, poll: Poll) -> None:
    record = poll(start(appended=NOTHING), "sandbox-rejected-8-0001")
    response = record["response"]
    assert isinstance(response.pop("rejectionId"), int)
    assert response == {
        "code": -8,
        "response": "HLR rejection",
        "info": {"status": "UNDELIV", "code": "EC_UNKNOWN_SUBSCRIBER"},
        "leadId": None,
        "processTime": response["processTime"],
        "timestamp": STAMP,
    }


def test_every_documented_code_can_be_had(box: SandboxClient, poll: Poll) -> None:
    documented = [-2, -3, -4, -5, -7, -8, -9, -10, -11, -12, -13, -14, -15, -16, -100]
    assert list(REFUSALS) == documented
    responses = [poll(box, f"sandbox-rejected{code}-0001")["response"] for code in documented]
    assert [response["code"] for response in responses] == documented
    infos = [response["info"] for response in responses]
    assert [] in infos
    assert any(isinstance(info, dict) for info in infos)
    assert any(isinstance(info, list) and info and isinstance(info[0], str) for info in infos)


def test_unsold_is_rejected_with_a_lead_id_and_no_sold_buyer(box: SandboxClient, poll: Poll) -> None:
    record = poll(box, "sandbox-unsold-0001")
    assert (record["status"], record["response"]["code"]) == ("Rejected", 1)
    assert isinstance(record["response"]["leadId"], int)
    assert {buyer["status"] for buyer in record["response"]["buyers"]} == {"Unsold"}


def test_a_queued_lead_has_no_verdict(box: SandboxClient, poll: Poll) -> None:
    queued = {"queueId": "sandbox-queued-0001", "status": "Queued", "processed": None, "response": None}
    assert poll(box, "sandbox-queued-0001") == queued


def test_a_quarantined_lead_tells_its_quarantine_id(box: SandboxClient, poll: Poll) -> None:
    record = poll(box, "sandbox-quarantined-0001")
    assert record["status"] == "Quarantined"
    assert record["response"]["quarantineId"] == box.truth()["sandbox-quarantined-0001"]["quarantine_id"]


@pytest.mark.parametrize("http_status", [200, 404])
def test_an_unknown_id_is_not_found(start: Start, ask: Ask, http_status: int) -> None:
    status, answer = ask(start(not_found_http_status=http_status), "GET", "apiqueue/ac1e0206-00000000")
    assert status == http_status
    assert answer["records"] == [{"queueId": "ac1e0206-00000000", "status": "Not Found"}]


@pytest.mark.parametrize("place", ["response", "record", "root"])
def test_blocks_stand_where_the_setting_puts_them(start: Start, ask: Ask, place: str) -> None:
    _, answer = ask(start(blocks_in=place), "GET", "apiqueue/sandbox-several-0001")
    record = answer["records"][0]
    holders = {"root": answer, "record": record, "response": record["response"]}
    blocks = {"campaign", "supplier", "buyers", "deliveries", "lead"}
    assert {name for name, holder in holders.items() if blocks & set(holder)} == {place}
    assert blocks <= set(holders[place])


def test_only_the_blocks_the_key_appends_are_there(start: Start, poll: Poll) -> None:
    response = poll(start(appended=frozenset({"buyer"})), "sandbox-approved-0001")["response"]
    assert "buyers" in response
    assert not {"deliveries", "campaign", "supplier", "lead"} & set(response)


def test_buyer_statuses_can_be_hidden(start: Start, poll: Poll) -> None:
    response = poll(start(all_buyer_statuses=False), "sandbox-several-0001")["response"]
    assert [buyer["status"] for buyer in response["buyers"]] == ["Sold", "Sold"]


def test_submitted_fields_come_back_without_the_key(box: SandboxClient, ask: Ask, poll: Poll) -> None:
    fields = {"key": "sandbox-key", "campid": 565, "lead": {"email": "ada@example.com"}, "postcode": "TN25 6QD"}
    _, answer = ask(box, "POST", "leads", fields, key=None)
    box.advance(10_000)
    queue_id = answer["results"][0]["queueId"]
    expected = {"email": "ada@example.com", "postcode": "TN25 6QD"}
    assert poll(box, queue_id)["response"]["lead"] == expected


def test_a_batch_is_answered_in_the_order_asked(box: SandboxClient, ask: Ask) -> None:
    queue_ids = ["sandbox-unsold-0001", "unknown-0001", "sandbox-approved-0001"]
    _, answer = ask(box, "GET", "apiqueue", {"key": "sandbox-key", "queueIds": queue_ids}, key=None)
    assert [record["queueId"] for record in answer["records"]] == queue_ids
    assert [record["status"] for record in answer["records"]] == ["Rejected", "Not Found", "Approved"]


@pytest.mark.parametrize("count", [1, 2])
def test_live_buyer_responses_answer_a_submission_in_the_polled_shape(start: Start, ask: Ask, count: int) -> None:
    box = start(live_buyer_responses=True, weights={"queued": 0})
    _, answer = ask(box, "POST", "leads", [{"email": "a"}] * count)
    assert len(answer["records"]) == count
    assert "Queued" not in {record["status"] for record in answer["records"]}


def test_the_older_version_answers_too(box: SandboxClient, ask: Ask) -> None:
    status, answer = ask(box, "GET", "/restapi/v1.2/apiqueue/sandbox-approved-0001")
    assert (status, answer["records"][0]["status"]) == (200, "Approved")


@pytest.mark.parametrize("path", ["apiqueue/sandbox-approved-0001", "apiqueue", "apiqueue/x?key=wrong"])
def test_a_wrong_or_missing_key_is_refused(box: SandboxClient, ask: Ask, path: str) -> None:
    status, answer = ask(box, "GET", path, key=None)
    assert (status, answer["status"], answer["message"]) == (401, "Error", "Invalid API key")
    assert answer["errors"]


def test_the_key_counts_only_where_it_is_accepted(start: Start, ask: Ask) -> None:
    box = start(auth_accepted=frozenset({"query"}))
    assert ask(box, "GET", "apiqueue/sandbox-approved-0001")[0] == 401
    assert ask(box, "GET", "apiqueue/sandbox-approved-0001?key=sandbox-key", key=None)[0] == 200


@pytest.mark.parametrize(
    ("permission", "call"),
    [
        ("API queue", ("GET", "apiqueue/sandbox-approved-0001")),
        ("API queue", ("GET", "apiqueue", {"queueIds": []})),
        ("Leads > Update", ("PUT", "leads", {"leads": []})),
        ("Leads > Quarantine Process", ("PUT", "leads", {"leads": [{"quarantineId": "1", "action": "reject"}]})),
        ("Leads > Quarantine Process", ("POST", "quarantine/process", {"quarantineId": 1, "action": "reject"})),
    ],
)
def test_a_missing_permission_is_named(start: Start, ask: Ask, permission: str, call: tuple[Any, ...]) -> None:
    status, answer = ask(start(missing_permissions=frozenset({permission})), *call)
    assert status == 403
    assert permission in answer["message"]


def test_what_leadbyte_does_not_offer_is_an_error(box: SandboxClient, ask: Ask) -> None:
    assert ask(box, "DELETE", "leads")[0] == 404
    assert ask(box, "GET", "/restapi/v9/leads")[0] == 404
