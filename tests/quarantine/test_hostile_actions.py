"""What a hostile reader tried on the ledger: holds that come back, late effects, values quoted back, odd names."""

from __future__ import annotations

import pytest

from tests.quarantine.held_stage import DUE, Stage
from worker.errors import UsageError
from worker.local.postgres import EmbeddedPostgres

LEAD = "sandbox-quarantined-0001"
SECRET = "Planted Person-77"


def leave_and_return(stage: Stage) -> None:
    """The lead was released by somebody, and is held again under the ID it had."""
    insert = (
        "insert into resolver.lead_events (lead_id, at, from_state, to_state, cause) values (1, now(), %s, %s, 'x')"
    )
    stage.sql(insert, "quarantined", "queued")
    stage.sql(insert, "queued", "quarantined")


def test_a_lead_held_again_under_the_same_id_is_not_acted_on_for_an_earlier_hold(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    stage.ask("release", LEAD)
    leave_and_return(stage)
    assert stage.send() == {}
    stage.look()
    (first, unasked) = stage.rows()
    assert (first["action_state"], first["done_by"], unasked["action_id"]) == ("refused", "somebody else", None)
    assert [one.outcome for one in stage.ask("release", LEAD)] == ["requested"]
    assert stage.send() == {"acknowledged": 1}
    assert stage.box.calls()["quarantine_requests"] == {held: {"process": 1}}


def test_an_effect_between_two_requests_may_be_the_firsts(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.box.script("@process", "lostreply", 1)
    stage.ask("release", LEAD)
    stage.send()
    # As if looking had shown it held for longer than LeadByte needed to show otherwise; then it was too late.
    stage.age(100)
    stage.sql(f"update resolver.actions set state = 'requested', token = null, next_try_at = {DUE}")
    stage.effects()
    stage.box.script("@process", "500", 1)
    assert stage.send() == {"unsure": 1}
    stage.poll()
    stage.sql("update resolver.replies set received_at = received_at - interval '50 s'")
    stage.look()
    (row,) = stage.rows()
    assert (row["action_state"], row["done_by"]) == ("confirmed", "unknown")


@pytest.mark.parametrize("name", ["a\x00b", "a\ud800"])
def test_a_field_whose_name_postgres_cannot_read_reaches_neither_it_nor_its_log(
    stage: Stage, postgres: EmbeddedPostgres, name: str
) -> None:
    stage.hold(LEAD)
    with pytest.raises(UsageError, match="name of a field"):
        stage.ask("update", LEAD, fields={"firstname": SECRET, name: "x"})
    assert SECRET not in postgres.log.read_text("utf-8", "replace")


@pytest.mark.parametrize(
    "value",
    ["INVALID Planted Person-77", "INVALID Planted\nPerson-77", "INVALID " + "Planted Person-77 " * 100],
)
def test_a_refusal_that_quotes_the_value_is_kept_without_it(stage: Stage, value: str) -> None:
    stage.hold(LEAD)
    stage.ask("update", LEAD, fields={"firstname": value})
    assert stage.send() == {"refused": 1}
    (row,) = stage.rows()
    assert "Person" not in row["message"]
    assert row["message"].startswith("LeadByte: firstname '***")


def test_an_action_that_is_told_to_wait_slows_its_account_down(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.box.script("@process", "429-wait7", 1)
    stage.ask("release", LEAD)
    assert stage.send() == {"requested": 1}
    ((share, kind),) = stage.sql("select rate_share, pause_kind from resolver.accounts")
    assert (share, kind) == (0.5, "throttled")
