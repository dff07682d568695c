"""Stories: what is polled agrees with the truth at every moment, the seed decides, and the clock is ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from worker.sandbox import SandboxClient, SandboxSettings
from worker.sandbox.stories import PRESETS

Start = Callable[..., SandboxClient]
Ask = Callable[..., tuple[int, Any]]
Poll = Callable[[SandboxClient, str], dict[str, Any]]


def poll_all(box: SandboxClient, ask: Ask, queue_ids: list[str]) -> dict[str, dict[str, Any]]:
    _, answer = ask(box, "GET", "apiqueue", {"queueIds": queue_ids})
    return {record["queueId"]: record for record in answer["records"]}


def assert_record_tells_truth(record: dict[str, Any], truth: dict[str, Any]) -> None:
    response = record["response"] or {}
    assert record["status"] == truth["status"]
    assert response.get("code") == truth["result_code"]
    assert response.get("leadId") == truth["lead_id"]
    assert response.get("rejectionId") == truth["rejection_id"]
    assert response.get("quarantineId") == truth["quarantine_id"]
    if truth["final"]:
        assert record["processed"] == truth["resolved_at"]
        assert response["campaign"]["id"] == truth["campaign"]["id"]
        assert response["supplier"]["name"] == truth["supplier"]["name"]
        names = ("id", "name", "status", "revenue")
        assert [{name: buyer[name] for name in names} for buyer in response["buyers"]] == truth["buyers"]
        assert [entry["id"] for entry in response["deliveries"]] == [entry["id"] for entry in truth["deliveries"]]
        sold = [float(buyer["revenue"]) for buyer in response["buyers"] if buyer["status"] == "Sold"]
        assert sum(sold) == pytest.approx(float(truth["revenue"]))


def test_what_is_polled_agrees_with_the_truth_at_every_moment(box: SandboxClient, ask: Ask) -> None:
    queue_ids = box.submit(200)
    seen = set()
    for seconds in (0, 1, 1, 2, 4, 20, 1000):
        box.advance(seconds)
        truth = box.truth()
        for queue_id, record in poll_all(box, ask, queue_ids).items():
            assert_record_tells_truth(record, truth[queue_id])
            seen.add(record["status"])
    assert seen == {"Queued", "Pending", "Approved", "Rejected", "Quarantined", "Returned"}


def test_two_hundred_leads_tell_every_story_of_the_everyday_mix(box: SandboxClient) -> None:
    box.submit(200)
    stories = [lead["story"] for lead in box.truth().values()]
    assert set(stories) == set(PRESETS["everyday"])
    assert stories.count("queued") == 2


def test_a_demo_ends_once_the_held_are_released(start: Start) -> None:
    box = start(preset="demo")
    box.submit(200)
    for _ in range(3):
        box.advance(1000)
        for truth in box.truth().values():
            if truth["quarantine_id"]:
                box.act_as_person(truth["quarantine_id"], "process")
    assert all(truth["settled"] for truth in box.truth().values())


def test_the_seed_decides_everything(start: Start, ask: Ask) -> None:
    def live_through(seed: int, *, with_magic: bool) -> object:
        box = start(seed=seed)
        box.submit(50)
        if with_magic:
            ask(box, "GET", "apiqueue/sandbox-approved-0001")
        box.submit(50)
        box.advance(5)
        return {queue_id: told for queue_id, told in box.truth().items() if not queue_id.startswith("sandbox")}

    assert live_through(7, with_magic=False) == live_through(7, with_magic=True)
    assert live_through(7, with_magic=False) != live_through(8, with_magic=False)


def test_a_pending_lead_is_accepted_and_then_sold(box: SandboxClient, poll: Poll) -> None:
    pending = poll(box, "sandbox-pending-0001")
    assert pending["response"]["buyers"] == []
    assert "Assigned" in {entry["status"] for entry in pending["response"]["deliveries"]}
    assert box.truth()["sandbox-pending-0001"]["campaign_accepted"] is True
    box.advance(2)
    approved = poll(box, "sandbox-pending-0001")
    assert approved["status"] == "Approved"
    assert approved["response"]["leadId"] == pending["response"]["leadId"]


def test_a_return_takes_the_revenue_back_and_keeps_the_moment_of_resolution(box: SandboxClient, poll: Poll) -> None:
    before = poll(box, "sandbox-returned-0001")
    assert (before["status"], box.truth()["sandbox-returned-0001"]["settled"]) == ("Approved", False)
    box.advance(6)
    after = poll(box, "sandbox-returned-0001")
    assert (after["status"], after["processed"]) == ("Returned", before["processed"])
    truth = box.truth()["sandbox-returned-0001"]
    assert (truth["revenue"], truth["payout"], truth["settled"]) == ("0.00", "0.00", True)


def test_returns_have_a_wait_of_their_own(start: Start, poll: Poll) -> None:
    box = start(return_seconds=100)
    poll(box, "sandbox-returned-0001")
    box.advance(99)
    assert poll(box, "sandbox-returned-0001")["status"] == "Approved"
    box.advance(1)
    assert poll(box, "sandbox-returned-0001")["status"] == "Returned"


def test_after_counts_from_the_first_poll(box: SandboxClient, poll: Poll) -> None:
    box.advance(1000)
    assert poll(box, "sandbox-approved-after3-0001")["status"] == "Queued"
    box.advance(2)
    assert poll(box, "sandbox-approved-after3-0001")["status"] == "Queued"
    box.advance(1)
    assert poll(box, "sandbox-approved-after3-0001")["status"] == "Approved"


@pytest.mark.parametrize("name", ["rejected-0001", "rejected-99-x", "rejected"])
def test_a_rejection_without_a_documented_code_is_a_validation_error(box: SandboxClient, poll: Poll, name: str) -> None:
    assert poll(box, f"sandbox-{name}")["response"]["code"] == -5


@pytest.mark.parametrize("queue_id", ["sandbox-nonsense-0001", "sandbox-", "sandbox-approved-" + "0" * 60])
def test_what_is_no_magic_name_is_not_found(box: SandboxClient, poll: Poll, queue_id: str) -> None:
    assert poll(box, queue_id)["status"] == "Not Found"
    assert box.calls()["unknown_queue_ids"] == 1


def test_weights_change_what_is_told(start: Start) -> None:
    box = start(preset="plain", weights={"approved": 0, "several": 1, "rejected-5": 0})
    box.submit(5)
    assert {lead["story"] for lead in box.truth().values()} == {"several"}


def test_leads_of_two_accounts_are_apart(start: Start, ask: Ask) -> None:
    box = start(other_accounts={"acme": "acme-key"})
    (mine,) = box.submit(1)
    (theirs,) = box.submit(1, key="acme-key")
    assert set(box.truth("acme")) == {theirs}
    assert ask(box, "GET", f"apiqueue/{mine}", key="acme-key")[1]["records"][0]["status"] == "Not Found"


@pytest.mark.parametrize(
    "options",
    [
        {"port": 65536},
        {"preset": "nonsense"},
        {"weights": {"nonsense": 1}},
        {"weights": {"approved": -1}},
        {"preset": "plain", "weights": {"approved": 0, "rejected-5": 0}},
        {"missing_permissions": frozenset({"nonsense"})},
    ],
)
def test_senseless_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(name for name in reversed(options))):
        SandboxSettings(**options)


def test_settings_do_not_print_keys() -> None:
    assert "secret" not in repr(SandboxSettings(key="secret", other_accounts={"acme": "secret"}))
