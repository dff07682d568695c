"""The demo's operator: each hold is decided about once, and what nobody else can tell is looked up in LeadByte."""

from __future__ import annotations

import pytest

from tests.quarantine.held_stage import Stage
from worker.local.desk import FIRST_HOLD, Operator

LEADS = [f"sandbox-quarantined-{number:04}" for number in range(1, len(FIRST_HOLD) + 1)]


@pytest.fixture
def operator(stage: Stage) -> Operator:
    return Operator(stage.engine, stage.box, "sandbox")


def test_held_leads_are_completed_released_rejected_and_left_each_decided_about_once(
    stage: Stage, operator: Operator
) -> None:
    stage.hold(*LEADS)
    operator.take_turn()
    operator.take_turn()
    asked = [(row["action"], row["fields"]) for row in stage.rows() if row["action"] is not None]
    wanted = [(choice.action, [] if choice.phone is None else ["phone1"]) for choice in FIRST_HOLD if choice]
    assert sorted(asked) == sorted(wanted)
    assert len(operator.decided) == len(FIRST_HOLD)
    assert {row["requested_by"] for row in stage.rows()} == {None, "demo"}


def test_a_lead_held_again_is_released_again(stage: Stage, operator: Operator) -> None:
    (first,) = stage.hold("sandbox-requarantined-0001")
    operator.take_turn()
    stage.send()
    stage.effects()
    stage.box.advance(60)
    stage.poll()
    second = stage.held_id("sandbox-requarantined-0001")
    assert second != first
    operator.take_turn()
    (row,) = [row for row in stage.rows() if row["quarantine_id"] == second]
    assert (row["action"], row["cycle"]) == ("release", 2)


@pytest.mark.parametrize(("fault", "state"), [("lostreply", "confirmed"), ("lostrequest", "requested")])
def test_what_looking_cannot_tell_is_looked_up_in_leadbyte(
    stage: Stage, operator: Operator, fault: str, state: str
) -> None:
    stage.hold(LEADS[0])
    stage.box.script("@update", fault, 1)
    stage.ask("update", LEADS[0], fields={"phone1": "07700 900461"})
    assert stage.send() == {"unsure": 1}
    operator.take_turn()
    assert stage.states() == ["unsure"]  # the ledger still looks by itself
    stage.look()
    operator.take_turn()
    assert stage.states() == [state]
