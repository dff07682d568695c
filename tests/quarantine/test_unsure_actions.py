"""What may or may not have happened: never sent again blindly, looked up where looking tells, left to a person else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.quarantine.held_stage import DUE, FOLLOW, Stage
from worker.errors import NotFoundError, UsageError
from worker.following import follow_up
from worker.leadbyte.acting import ActingClient
from worker.operations import pause, redrive
from worker.quarantine import resolve
from worker.sending import send_next

LEAD = "sandbox-quarantined-0001"
FIELDS = {"postcode": "TN25 6QD"}
# Whatever of the answer was lost, the action took effect; the cut may fall at any byte of it.
CUTS = ["lostreply", "cut", "cuthead", "reset", "wronglength", "shortlength", "cut-at0", "cut-at60", "cut-at190"]
SPOILT = ["error200", "empty", "null", "list", "login", "500", "502", "503", "504", "redirect", "404"]


def age_past_settling(stage: Stage) -> None:
    stage.age(200)
    stage.sql("update resolver.watches set last_told_at = last_told_at - interval '200 s'")


def look_twice(stage: Stage) -> None:
    """Two polls, each told of by a look."""
    for _ in range(2):
        stage.poll()
        stage.look()


@pytest.mark.parametrize("fault", CUTS)
def test_an_answer_cut_anywhere_leaves_it_unsure_then_confirmed_by_a_look(stage: Stage, fault: str) -> None:
    (held,) = stage.hold(LEAD)
    stage.box.script("@process", fault, 1)
    stage.ask("release", LEAD)
    assert stage.send() == {"unsure": 1}
    assert stage.send() == {}
    assert stage.effects() == [(held, "process")]
    stage.poll()
    stage.look()
    (row,) = stage.rows()
    assert (row["action_state"], row["done_by"]) == ("confirmed", "unknown")
    assert stage.box.calls()["quarantine_requests"] == {held: {"process": 1}}


@pytest.mark.parametrize("fault", ["lostrequest", *SPOILT])
def test_what_looking_shows_not_to_have_happened_is_sent_again(stage: Stage, fault: str) -> None:
    (held,) = stage.hold(LEAD)
    stage.box.script("@process", fault, 1)
    stage.ask("release", LEAD)
    assert stage.send() == {"unsure": 1}
    look_twice(stage)
    assert stage.states() == ["unsure"]  # LeadByte has a while to show what it did
    age_past_settling(stage)
    stage.poll()
    stage.look(times=3)
    assert stage.states() == ["unsure"]  # and one look is not enough
    stage.poll()
    stage.look()
    assert stage.states() == ["requested"]
    assert stage.send() == {"acknowledged": 1}
    assert stage.effects() == [(held, "process")]


def test_a_look_does_not_count_while_a_reply_waits_to_be_read(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.box.script("@process", "lostrequest", 1)
    stage.ask("release", LEAD)
    stage.send()
    age_past_settling(stage)
    stage.sql("insert into resolver.unpersisted (reply_id, lead_id) select id, lead_id from resolver.replies")
    stage.sql(f"update resolver.watches set last_told_at = {DUE}")
    stage.look()
    stage.sql(f"update resolver.watches set last_told_at = {DUE}")
    stage.look()
    assert stage.states() == ["unsure"]


def test_it_is_sent_again_a_few_times_then_waits_for_a_person(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.box.script("@process", "lostrequest")
    stage.ask("release", LEAD)
    for _ in range(5):
        assert stage.send() == {"unsure": 1}
        age_past_settling(stage)
        look_twice(stage)
    assert stage.send() == {}
    (row,) = stage.rows()
    assert row["action_state"] == "unsure"
    assert "sent 5 times by now, and the lead is still held" in row["message"]
    assert stage.effects() == []


@pytest.mark.parametrize(("fault", "effects"), [("lostreply", 1), ("lostrequest", 0)])
def test_an_unsure_update_waits_for_a_person(stage: Stage, fault: str, effects: int) -> None:
    stage.hold(LEAD)
    stage.box.script("@update", fault, 1)
    stage.ask("update", LEAD, fields=FIELDS)
    assert stage.send() == {"unsure": 1}
    stage.look()
    (row,) = stage.rows()
    assert row["action_state"] == "unsure"
    assert (
        "`lead-resolver quarantine resolve 1 --done`; if not, "
        "`lead-resolver quarantine resolve 1 --resend --set postcode=…`" in row["message"]
    )
    assert stage.send() == {}
    assert len(stage.effects()) == effects
    assert stage.sql("select unsure_actions from reporting.pipeline") == [(1,)]


def test_update_and_release_in_one_that_are_unsure_are_confirmed_when_the_lead_left(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.box.script("@update", "lostreply", 1)
    stage.ask("release", LEAD, fields=FIELDS)
    assert stage.send() == {"unsure": 1}
    stage.effects()
    stage.poll()
    stage.look()
    assert stage.states() == ["confirmed"]
    assert stage.sql("select count(*) from resolver.action_fields") == [(0,)]


def test_update_and_release_in_one_that_left_no_trace_wait_for_a_person(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.box.script("@update", "lostrequest", 1)
    stage.ask("release", LEAD, fields=FIELDS)
    stage.send()
    age_past_settling(stage)
    look_twice(stage)
    assert stage.states() == ["unsure"]
    assert "whether its fields were updated can't be told" in stage.rows()[0]["message"]
    assert resolve(stage.engine, 1, happened=False, by="kim", fields=FIELDS).state == "requested"
    assert stage.send() == {"acknowledged": 1}
    assert [action for _, action in stage.effects()] == ["update", "process"]


def test_an_unsure_action_on_a_lead_unknown_here_waits_for_a_person(stage: Stage) -> None:
    stage.box.script("@process", "lostrequest", 1)
    stage.ask("release", "2932682")
    assert stage.send() == {"unsure": 1}
    stage.look()
    (row,) = stage.rows()
    assert "its lead is not known here" in row["message"]
    assert "--resend" in row["message"]


def test_an_unsure_rejection_of_a_lead_that_was_approved_was_somebody_elses_release(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    stage.box.script("@process", "lostrequest", 1)
    stage.ask("reject", LEAD)
    stage.send()
    stage.box.act_as_person(int(held), "process")
    stage.box.advance(1)
    stage.poll()
    stage.look()
    (row,) = stage.rows()
    assert (row["action_state"], row["done_by"]) == ("refused", "somebody else")


def test_what_never_got_a_connection_is_simply_sent_later(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    stage.ask("release", LEAD)
    nowhere = replace(stage.account, base_url="http://127.0.0.1:1/restapi/v1.3")
    assert send_next(stage.sender, nowhere) == {"requested": 1}
    assert stage.sql("select attempts, failures, sent_at, message from resolver.actions") == [
        (0, 1, None, "not sent yet: connection failed")
    ]
    assert stage.send() == {}
    stage.sql(f"update resolver.actions set next_try_at = {DUE}")
    assert stage.send() == {"acknowledged": 1}
    assert stage.effects() == [(held, "process")]


def test_a_worker_that_was_frozen_before_the_first_byte_does_not_send(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD)
    frozen = ActingClient(5.0, read_monotonic=lambda: 10.0**12)  # it wakes up long after
    assert send_next(replace(stage.sender, client=frozen), stage.account) == {"requested": 1}
    assert stage.box.calls()["quarantine_requests"] == {}
    assert stage.sql("select attempts, sent_at from resolver.actions") == [(0, None)]


def test_after_a_lost_answer_leads_are_updated_one_at_a_time_for_a_minute(stage: Stage) -> None:
    leads = [f"sandbox-quarantined-{number:04}" for number in range(10)]
    stage.hold(*leads)
    stage.box.script("@update", "lostreply", 1)
    stage.ask("update", *leads[:5], fields=FIELDS)
    assert send_next(stage.sender, stage.account) == {"unsure": 5}
    stage.ask("update", *leads[5:], fields=FIELDS)
    assert send_next(stage.sender, stage.account) == {"confirmed": 1}
    stage.age(61)
    assert send_next(stage.sender, stage.account) == {"confirmed": 4}


class Interrupted(ActingClient):
    """Sends, and has something happen before the answer is looked at."""

    def __init__(self, meanwhile: Callable[[], object], *, really: bool = True) -> None:
        super().__init__(5.0)
        self._meanwhile, self._really = meanwhile, really

    def post_process(self, *args: Any, **kwargs: Any) -> Any:
        asked = super().post_process(*args, **kwargs) if self._really else None
        self._meanwhile()
        return asked


class Died(BaseException):
    """The worker is gone."""


def die() -> None:
    raise Died


@pytest.mark.parametrize(("really", "effects"), [(True, 1), (False, 0)])
def test_a_worker_that_dies_over_a_request_leaves_it_unsure_when_its_lease_has_run_out(
    stage: Stage, really: bool, effects: int
) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD)
    with pytest.raises(Died):
        send_next(replace(stage.sender, client=Interrupted(die, really=really)), stage.account)
    assert stage.states() == ["sent"]
    stage.look()
    assert stage.states() == ["sent"]
    stage.sql(f"update resolver.actions set next_try_at = {DUE}")
    follow_up(stage.engine, settle=stage.settle, follow=FOLLOW)
    assert stage.states() == ["unsure"]
    assert stage.send() == {}
    assert len(stage.effects()) == effects


def expire(stage: Stage) -> None:
    stage.sql(f"update resolver.actions set next_try_at = {DUE}")
    follow_up(stage.engine, settle=stage.settle, follow=FOLLOW)
    assert stage.states() == ["unsure"]


def test_an_answer_that_comes_after_the_lease_still_counts(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD)
    late = replace(stage.sender, client=Interrupted(lambda: expire(stage)))
    assert send_next(late, stage.account) == {"acknowledged": 1}


def test_an_answer_to_a_request_that_was_shown_not_to_have_happened_is_not_written_down(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD)

    def conclude() -> None:
        expire(stage)
        resolve(stage.engine, 1, happened=True, by="kim")

    assert send_next(replace(stage.sender, client=Interrupted(conclude)), stage.account) == {}
    assert stage.states() == ["confirmed"]


def test_a_person_says_that_it_happened(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.box.script("@update", "lostreply", 1)
    stage.ask("update", LEAD, fields=FIELDS)
    stage.send()
    done = resolve(stage.engine, 1, happened=True, by="kim")
    assert (done.state, done.message) == ("confirmed", "it happened, says kim")
    assert stage.rows()[0]["done_by"] == "us"
    assert stage.sql("select count(*) from resolver.action_fields") == [(0,)]
    with pytest.raises(UsageError, match="action 1 is confirmed: only unsure and acknowledged ones"):
        resolve(stage.engine, 1, happened=True, by="kim")
    with pytest.raises(NotFoundError, match="there is no action 2"):
        resolve(stage.engine, 2, happened=True, by="kim")


def test_giving_up_on_a_lead_is_no_sign_that_it_left_quarantine(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    stage.box.script("@process", "lostrequest", 1)
    stage.ask("release", LEAD)
    stage.send()
    stage.sql("update resolver.leads set state = 'abandoned'")
    stage.sql(
        "insert into resolver.lead_events (lead_id, at, from_state, to_state, cause)"
        " values (1, now(), 'quarantined', 'abandoned', 'no verdict in a week')"
    )
    stage.look()
    assert stage.states() == ["unsure"]
    redrive(stage.engine, "sandbox", [LEAD])
    stage.look()
    assert stage.states() == ["unsure"]
    stage.poll()
    assert stage.held_id(LEAD) == held
    assert stage.rows()[0]["cycle"] == 1
    assert stage.ask("release", LEAD)[0].outcome == "already requested"


def test_pausing_does_not_stop_the_follow_up(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD)
    stage.send()
    stage.effects()
    stage.poll()
    pause(stage.engine, "sandbox", "maintenance")
    stage.look()
    assert stage.states() == ["confirmed"]
