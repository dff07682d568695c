"""Each action at most once: asked for, sent, answered, concluded; on real Postgres and over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest

from tests.quarantine.held_stage import DUE, Stage
from worker.polling import poll_while_due
from worker.quarantine import Requested

LEAD = "sandbox-quarantined-0001"
FIELDS = {"postcode": "TN25 6QD", "age": 41, "consent": True}


def ask_four_times(stage: Stage, action: str, fields: dict[str, Any] | None) -> list[Requested]:
    """By four askers at the same moment, by queue ID and quarantine ID in turns."""
    (held,) = stage.hold(LEAD)
    gate = Barrier(4)

    def ask(number: int) -> Requested:
        gate.wait()
        (one,) = stage.ask(action, LEAD if number % 2 else held, by=f"asker {number}", fields=fields)
        return one

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(ask, range(4)))


@pytest.mark.parametrize(("action", "fields"), [("release", None), ("reject", None), ("update", FIELDS)])
def test_four_askers_at_once_are_one_action_and_three_are_told_so(
    stage: Stage, action: str, fields: dict[str, Any] | None
) -> None:
    asked = ask_four_times(stage, action, fields)
    assert sorted(one.outcome for one in asked) == ["already requested"] * 3 + ["requested"]
    (first,) = (one for one in asked if one.outcome == "requested")
    assert {one.action_id for one in asked} == {first.action_id}
    (row,) = stage.rows()
    said = [one.said for one in asked if one.outcome == "already requested"]
    assert all(f"already requested: {action} by {row['requested_by']} at 20" in words for words in said)
    stage.send()
    assert len(stage.effects()) == 1


def test_many_senders_at_once_send_each_action_once(stage: Stage) -> None:
    leads = [f"sandbox-quarantined-{number:04}" for number in range(24)]
    held = stage.hold(*leads)
    stage.ask("release", *leads)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: stage.send(), range(4)))
    assert sorted(stage.effects()) == sorted((one, "process") for one in held)
    assert stage.box.calls()["quarantine_requests"] == {one: {"process": 1} for one in held}


@pytest.mark.parametrize(
    ("action", "fields", "effects", "state"),
    [
        ("release", None, ["process"], "approved"),
        ("reject", None, ["reject"], "rejected"),
        ("release", FIELDS, ["update", "process"], "approved"),
        ("reject", FIELDS, ["update", "reject"], "rejected"),
    ],
)
def test_an_action_is_acknowledged_then_confirmed_as_ours_when_the_lead_moved(
    stage: Stage, action: str, fields: dict[str, Any] | None, effects: list[str], state: str
) -> None:
    stage.hold(LEAD)
    stage.ask(action, LEAD, fields=fields, reason="typo mended")
    assert stage.send() == {"acknowledged": 1}
    assert [effect for _, effect in stage.effects()] == effects
    stage.poll()
    stage.look()
    (row,) = stage.rows()
    assert (row["action_state"], row["done_by"], row["lead_state"]) == ("confirmed", "us", state)
    assert (row["reason"], row["requested_by"]) == ("typo mended", "kim")


def test_an_update_is_confirmed_by_its_answer_and_leaves_the_lead_held(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    stage.ask("update", LEAD, fields=FIELDS)
    assert stage.send() == {"confirmed": 1}
    assert stage.effects() == [(held, "update")]
    (row,) = stage.rows()
    assert (row["fields"], row["message"], row["lead_state"]) == (
        ["age", "consent", "postcode"],
        "LeadByte: Quarantine lead updated",
        "quarantined",
    )


def test_several_updates_travel_in_one_request(stage: Stage) -> None:
    leads = [f"sandbox-quarantined-{number:04}" for number in range(21)]
    stage.hold(*leads)
    stage.ask("update", *leads, fields=FIELDS)
    stage.send()
    assert stage.states() == ["confirmed"] * 21
    assert stage.box.calls()["by_kind"]["update"] == 2


def test_an_item_that_is_refused_spoils_no_other(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    stage.ask("update", held, "17", fields=FIELDS)
    assert stage.send() == {"confirmed": 1, "refused": 1}
    refused = next(row for row in stage.rows() if row["quarantine_id"] == "17")
    assert refused["message"] == "LeadByte: Quarantine lead not found"
    assert refused["queue_id"] is None


def test_what_was_refused_may_be_asked_for_again(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    stage.box.script(held, "denied200", 1)
    stage.ask("release", LEAD)
    assert stage.send() == {"refused": 1}
    assert [one.outcome for one in stage.ask("release", LEAD)] == ["requested"]
    assert stage.send() == {"acknowledged": 1}
    assert stage.effects() == [(held, "process")]


def test_release_and_reject_exclude_each_other(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD)
    (second,) = stage.ask("reject", LEAD, by="lee")
    assert second.outcome == "already requested"
    assert second.said.startswith("already requested: release by kim at ")


def test_an_update_with_other_values_is_another_action_sent_after_the_first(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    outcomes = [stage.ask("update", LEAD, fields={"postcode": code})[0].outcome for code in ("A1", "A1", "B2")]
    assert outcomes == ["requested", "already requested", "requested"]
    assert [row["message"] for row in stage.rows()][1] == "waits until action 1 on this lead is concluded"
    assert stage.send() == {"confirmed": 2}
    assert stage.box.calls()["quarantine_requests"] == {held: {"update": 2}}


def test_a_release_waits_for_the_update_before_it_and_an_update_after_it_comes_too_late(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    stage.ask("update", LEAD, fields=FIELDS)
    stage.ask("release", LEAD)
    (late,) = stage.ask("update", LEAD, fields={"postcode": "B2"})
    assert late.outcome == "refused"
    assert "too late" in late.said
    stage.send()
    assert stage.effects() == [(held, "update"), (held, "process")]


def test_a_lead_held_again_begins_a_new_cycle(stage: Stage) -> None:
    lead = "sandbox-requarantined-0001"
    (first,) = stage.hold(lead)
    stage.ask("release", lead)
    stage.send()
    stage.effects()
    stage.poll()
    stage.look()
    second = stage.held_id(lead)
    assert second != first
    rows = stage.rows()
    assert [(row["quarantine_id"], row["cycle"], row["action_state"], row["done_by"]) for row in rows] == [
        (first, 1, "confirmed", "us"),
        (second, 2, None, None),
    ]
    (old,) = stage.ask("release", first)
    assert old.said == f"lead {lead} is no longer held under {first}, but under {second}"
    assert [one.outcome for one in stage.ask("release", lead)] == ["requested"]
    stage.send()
    assert stage.effects() == [(first, "process"), (second, "process")]


def test_a_person_who_acts_first_is_told_apart_and_nothing_is_sent(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    stage.ask("reject", LEAD)
    stage.box.act_as_person(int(held), "process")
    stage.box.advance(1)
    stage.poll()
    stage.look()
    assert stage.send() == {}
    (row,) = stage.rows()
    assert (row["action_state"], row["done_by"], row["sent_at"]) == ("refused", "somebody else", None)
    assert row["message"].startswith("somebody in LeadByte acted first: the lead is approved now; nothing was sent")
    assert stage.box.calls()["quarantine_requests"] == {}


def test_a_person_who_overtakes_an_acknowledged_rejection_is_told_apart(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(action_seconds=60)  # however slow the machine, the person is quicker
    (held,) = stage.hold(LEAD)
    stage.ask("reject", LEAD)
    stage.send()
    stage.box.act_as_person(int(held), "process")
    stage.box.advance(61)
    stage.poll()
    stage.look()
    (row,) = stage.rows()
    assert (row["lead_state"], row["action_state"], row["done_by"]) == ("approved", "refused", "somebody else")


def test_after_an_action_the_lead_is_polled_soon_and_fast(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.sql(
        "update resolver.watches set watched_since = now() - interval '5 days', next_poll_at = now() + interval '4 min'"
    )
    stage.ask("release", LEAD)
    stage.box.script("@process", "unprocessed", 1)
    stage.send()
    until = "select extract(epoch from next_poll_at - clock_timestamp())::float from resolver.watches"
    assert stage.sql(until)[0][0] <= 2
    stage.poll()
    assert stage.sql(until)[0][0] < 30


def test_an_acknowledged_action_that_leadbyte_never_does_is_followed_then_reported_once(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.box.script("@process", "unprocessed", 1)
    stage.ask("release", LEAD)
    stage.send()
    stage.poll()
    stage.look()
    assert stage.rows()[0]["message"] == "LeadByte: Queued for processing"
    stage.age(4000)
    stage.look()
    (row,) = stage.rows()
    assert row["action_state"] == "acknowledged"
    assert "LeadByte never processed it" in row["message"]
    assert "lead-resolver quarantine resolve 1 --resend" in row["message"]
    assert stage.sql("select hurry_since from resolver.watches") == [(None,)]
    stage.look()
    assert stage.rows()[0]["message"] == row["message"]
    assert stage.effects() == []


def test_an_action_on_a_lead_unknown_here_is_sent_once_and_says_that_it_cannot_be_followed(stage: Stage) -> None:
    stage.ask("release", "2932682")
    stage.box.submit(0)
    assert stage.send() == {"refused": 1}
    assert stage.ask("release", "2932682")[0].outcome == "requested"


@pytest.mark.parametrize(
    ("tracked", "given", "said"),
    [
        ("sandbox-approved-0001", "sandbox-approved-0001", "lead sandbox-approved-0001 is approved, not quarantined"),
        (None, "sandbox-approved-0009", "no lead of account sandbox has the queue ID sandbox-approved-0009"),
        (None, "0", "no lead of account sandbox has the queue ID 0"),
        (None, "17'; drop table x --", "an ID is 1 to 64 letters, digits and hyphens"),
        (None, "", "an ID is 1 to 64 letters, digits and hyphens"),
        (None, "1\x00", "an ID is 1 to 64 letters, digits and hyphens"),
        (None, "١٢", "an ID is 1 to 64 letters, digits and hyphens"),
    ],
)
def test_what_cannot_be_acted_on_is_refused_at_the_door(
    stage: Stage, tracked: str | None, given: str, said: str
) -> None:
    if tracked is not None:
        stage.sql("select track_lead('sandbox', %s)", tracked)
        for _ in range(3):
            stage.poll()
    (one,) = stage.ask("release", given)
    assert one.outcome == "refused"
    assert one.said.startswith(said)
    assert stage.sql("select count(*) from resolver.actions") == [(0,)]


def test_a_held_lead_whose_quarantine_id_was_never_told_says_so(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.sql("update resolver.outcomes set quarantine_id = null")
    (one,) = stage.ask("release", LEAD)
    assert one.said == f"lead {LEAD} is quarantined, but LeadByte never told its quarantine ID: give that ID instead"


def test_held_leads_without_an_action_are_listed_with_their_age(stage: Stage) -> None:
    stage.hold(LEAD, "sandbox-quarantined-0002")
    stage.ask("release", LEAD)
    rows = stage.rows()
    assert [row["action_id"] for row in rows] == [1, None]
    assert all(0 <= row["age_seconds"] < 60 and row["held_since"] for row in rows)


def test_an_account_that_is_paused_acts_on_nothing(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD)
    stage.sql("update resolver.accounts set paused_until = '9999-01-01', pause_kind = 'operator', pause_reason = 'x'")
    assert stage.send() == {}
    stage.sql("update resolver.accounts set paused_until = null, pause_kind = null, pause_reason = null")
    assert stage.send() == {"acknowledged": 1}


def test_throttling_is_no_attempt_and_pauses_the_account(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD)
    stage.box.script("@process", "429-wait30", 1)
    assert stage.send() == {"requested": 1}
    assert stage.sql("select attempts, state from resolver.actions") == [(0, "requested")]
    assert stage.sql("select pause_kind from resolver.accounts") == [("throttled",)]
    stage.sql("update resolver.accounts set paused_until = now() - interval '1 s'")
    stage.sql("update resolver.actions set next_try_at = now()")
    assert stage.send() == {"acknowledged": 1}
    assert stage.sql("select pause_kind from resolver.accounts") == [(None,)]
    assert len(stage.effects()) == 1


def test_no_permit_of_the_account_is_kept(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD)
    stage.send()
    assert stage.sql("select count(*) from resolver.claims") == [(0,)]


def test_an_action_gets_the_accounts_only_permit_before_a_backlog_of_polls_is_through(
    make_stage: Callable[..., Stage],
) -> None:
    stage = make_stage(latency_seconds=0.05)
    stage.hold(LEAD)
    stage.ask("release", LEAD)
    stage.account = replace(stage.account, concurrency=1)
    poller = replace(stage.poller, accounts={"sandbox": stage.account}, batch_size=10)
    stage.sql("select track_lead('sandbox', 'sandbox-approved-' || n) from generate_series(1, 200) n")
    stage.sql(f"update resolver.watches set next_poll_at = {DUE} where queue_id like 'sandbox-approved-%%'")
    polled = stage.box.calls()["by_kind"]["poll"]
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(lambda: sum(one.polled for one in poll_while_due(poller, lambda: True)))
        while stage.box.calls()["by_kind"]["poll"] == polled:
            time.sleep(0.01)
        assert stage.send() == {"acknowledged": 1}
        asked_before = stage.box.calls()["by_kind"]["poll"] - polled
        # Who polls claims nothing while an action waits, and is not called back by it: the next tick does that.
        left = 200 - rest.result()
    assert asked_before < 100
    assert left == int(stage.sql("select count(*) from resolver.watches where next_poll_at <= now()")[0][0])
    assert stage.box.calls()["by_account"]["sandbox"]["peak_concurrency"] == 1


def test_a_released_lead_that_meets_the_campaigns_cap_is_refused_and_its_release_confirmed(stage: Stage) -> None:
    stage.hold("sandbox-heldcapped-0001")
    stage.ask("release", "sandbox-heldcapped-0001")
    assert stage.send() == {"acknowledged": 1}
    stage.box.advance(1)
    stage.poll()
    stage.look()
    (row,) = stage.rows()
    assert (row["action_state"], row["done_by"], row["lead_state"]) == ("confirmed", "us", "rejected")
    assert stage.sql("select result_code from reporting.leads") == [(-4,)]
