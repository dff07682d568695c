"""Quarantine calls answer as published, and every effect is logged exactly once, when it happens."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Any

import pytest

from worker.sandbox import SandboxClient

Start = Callable[..., SandboxClient]
Ask = Callable[..., tuple[int, Any]]
Poll = Callable[[SandboxClient, str], dict[str, Any]]
HELD = "sandbox-quarantined-0001"


@pytest.fixture
def held(box: SandboxClient, poll: Poll) -> int:
    """The quarantine ID of a lead that is held."""
    return int(poll(box, HELD)["response"]["quarantineId"])


def test_an_update_is_answered_as_published(box: SandboxClient, ask: Ask, poll: Poll, held: int) -> None:
    _, answer = ask(box, "PUT", "leads", {"leads": [{"quarantineId": str(held), "update": {"postcode": "TN25 6QD"}}]})
    updated = {"quarantineId": str(held), "success": True, "message": "Quarantine lead updated"}
    assert answer == {"status": "Success", "message": "OK", "leads": [updated]}
    assert poll(box, HELD)["response"]["lead"]["postcode"] == "TN25 6QD"
    assert [(action["action"], action["fields"]) for action in box.actions()] == [("update", ["postcode"])]


@pytest.mark.parametrize(
    ("action", "words"), [("process", "Queued for processing"), ("reject", "Queued for rejection")]
)
def test_processing_is_answered_as_published_and_takes_effect_later(
    box: SandboxClient, ask: Ask, held: int, action: str, words: str
) -> None:
    _, answer = ask(box, "POST", "quarantine/process", {"quarantineId": held, "action": action})
    assert answer == {
        "status": "Success",
        "message": "Quarantined lead(s) processed successfully",
        "details": {str(held): words},
    }
    assert box.truth()[HELD]["status"] == "Quarantined"
    assert box.actions() == []
    box.advance(60)
    assert box.truth()[HELD]["status"] == {"process": "Approved", "reject": "Rejected"}[action]
    (effect,) = box.actions()
    assert (effect["quarantine_id"], effect["action"], effect["by"]) == (held, action, "api")
    assert effect["at"] == pytest.approx(1_668_700_984.2)


@pytest.mark.parametrize(("action", "words"), [("process", "processing"), ("reject", "rejection")])
def test_update_and_action_in_one_are_answered_as_published(
    box: SandboxClient, ask: Ask, held: int, action: str, words: str
) -> None:
    lead = {"quarantineId": str(held), "update": {"postcode": "TN25 6QD"}, "action": action}
    _, answer = ask(box, "PUT", "leads", {"leads": [lead]})
    assert answer == {
        "status": "Success",
        "message": "OK",
        "leads": [{"quarantineId": str(held), "success": True, "message": "Quarantine lead updated"}],
        "quaratineReleaseResults": [f"Quarantine ID '{held}' queued for {words}"],
    }
    box.advance(1)
    assert [effect["action"] for effect in box.actions()] == ["update", action]


def test_a_release_asked_twice_takes_effect_once(box: SandboxClient, ask: Ask, held: int) -> None:
    body = {"quarantineId": held, "action": "process"}
    answers = [ask(box, "POST", "quarantine/process", body)[1]["status"] for _ in range(2)]
    box.advance(60)
    answers.append(ask(box, "POST", "quarantine/process", body)[1]["status"])
    assert answers == ["Success", "Success", "Error"]
    assert len(box.actions()) == 1
    assert box.calls()["quarantine_requests"] == {str(held): {"process": 3}}


def test_one_bad_item_does_not_spoil_the_others(box: SandboxClient, ask: Ask, held: int) -> None:
    items = [{"quarantineId": quarantine_id, "update": {"a": 1}} for quarantine_id in ("17", str(held), "²", None)]
    _, answer = ask(box, "PUT", "leads", {"leads": items})
    assert answer["status"] == "Success"
    assert [item["success"] for item in answer["leads"]] == [False, True, False, False]


def test_a_field_that_is_not_valid_refuses_its_item_alone(box: SandboxClient, ask: Ask, held: int) -> None:
    items = [{"quarantineId": str(held), "update": {"postcode": code}} for code in ("an INVALID one", "TN25 6QD")]
    _, answer = ask(box, "PUT", "leads", {"leads": items})
    assert [(item["success"], item["message"]) for item in answer["leads"]] == [
        (False, "postcode 'an INVALID one' is not valid"),
        (True, "Quarantine lead updated"),
    ]
    assert len(box.actions()) == 1


def test_a_released_lead_is_queued_then_resolved(box: SandboxClient, ask: Ask, poll: Poll, held: int) -> None:
    ask(box, "POST", "quarantine/process", {"quarantineId": held, "action": "process"})
    box.advance(1)
    assert poll(box, HELD)["status"] == "Queued"
    box.advance(2)
    assert poll(box, HELD)["status"] == "Approved"


def test_a_lead_can_be_held_again_under_a_new_id(box: SandboxClient, ask: Ask, poll: Poll) -> None:
    seen = []
    for _ in range(2):
        seen.append(poll(box, "sandbox-requarantined-0001")["response"]["quarantineId"])
        ask(box, "POST", "quarantine/process", {"quarantineId": seen[-1], "action": "process"})
        box.advance(60)
    assert len(set(seen)) == 2
    assert poll(box, "sandbox-requarantined-0001")["status"] == "Approved"
    assert [effect["quarantine_id"] for effect in box.actions()] == seen


def test_a_rejected_lead_never_goes_on_with_its_story(box: SandboxClient, ask: Ask, poll: Poll, held: int) -> None:
    ask(box, "POST", "quarantine/process", {"quarantineId": held, "action": "reject"})
    box.advance(10_000)
    response = poll(box, HELD)["response"]
    assert (response["code"], response["leadId"], response["info"]) == (-5, None, ["Rejected from quarantine"])
    assert box.truth()[HELD]["settled"] is True


def test_a_person_may_act_first(box: SandboxClient, ask: Ask, held: int) -> None:
    ask(box, "POST", "quarantine/process", {"quarantineId": held, "action": "reject"})
    assert box.act_as_person(held, "process") is True
    assert box.act_as_person(held, "process") is False
    box.advance(60)
    assert [(effect["action"], effect["by"]) for effect in box.actions()] == [("process", "person")]


def test_an_account_cannot_touch_the_leads_of_another(start: Start, ask: Ask, poll: Poll) -> None:
    box = start(other_accounts={"acme": "acme-key"})
    held = poll(box, HELD)["response"]["quarantineId"]
    _, answer = ask(box, "PUT", "leads", {"leads": [{"quarantineId": held, "update": {"a": 1}}]}, key="acme-key")
    assert answer["leads"][0]["success"] is False
    _, answer = ask(box, "POST", "quarantine/process", {"quarantineId": held, "action": "process"}, key="acme-key")
    assert answer["status"] == "Error"
    box.advance(60)
    assert box.actions() == []


@pytest.mark.parametrize(("fault", "effects"), [("lostreply", 1), ("lostrequest", 0)])
def test_two_silences_look_alike_and_only_one_has_an_effect(
    box: SandboxClient, ask: Ask, held: int, fault: str, effects: int
) -> None:
    box.script("@process", fault, 1)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(box, "POST", "quarantine/process", {"quarantineId": held, "action": "process"})
    box.advance(60)
    assert len(box.actions()) == effects


def test_a_refused_call_has_no_effect(box: SandboxClient, ask: Ask, held: int) -> None:
    box.script(str(held), "error200", 1)
    _, answer = ask(box, "POST", "quarantine/process", {"quarantineId": held, "action": "process"})
    box.advance(60)
    assert answer["status"] == "Error"
    assert box.actions() == []


def test_a_promised_action_may_never_be_done(box: SandboxClient, ask: Ask, poll: Poll, held: int) -> None:
    box.script("@process", "unprocessed", 1)
    _, answer = ask(box, "POST", "quarantine/process", {"quarantineId": held, "action": "process"})
    box.advance(10_000)
    assert answer["details"] == {str(held): "Queued for processing"}
    assert poll(box, HELD)["status"] == "Quarantined"


def test_the_bulk_form_tells_about_each(box: SandboxClient, ask: Ask, held: int) -> None:
    _, answer = ask(box, "POST", "quarantine/process", {"quarantineIds": [held, 17], "action": "reject"})
    assert answer["details"] == {str(held): "Queued for rejection", "17": "Not found in quarantine"}


@pytest.mark.parametrize("body", [{}, {"quarantineId": 1}, {"quarantineId": 1, "action": "dance"}, [1], None])
def test_an_unusable_action_is_an_error(box: SandboxClient, ask: Ask, body: object) -> None:
    assert ask(box, "POST", "quarantine/process", body)[1]["status"] == "Error"


@pytest.mark.parametrize("body", [{}, {"leads": []}, {"leads": "x"}, [1], None])
def test_an_update_of_nothing_is_an_error(box: SandboxClient, ask: Ask, body: object) -> None:
    assert ask(box, "PUT", "leads", body)[1]["status"] == "Error"


@pytest.mark.parametrize("item", [{"update": {"a": 1}}, {"quarantineId": "x"}, {"quarantineId": "1", "update": [1]}])
def test_an_unusable_update_fails_by_itself(box: SandboxClient, ask: Ask, item: object) -> None:
    assert ask(box, "PUT", "leads", {"leads": [item]})[1]["leads"][0]["success"] is False
