"""A key without a permission parks the actions that need it, and neither polling nor the others."""

from __future__ import annotations

from collections.abc import Callable

from tests.quarantine.held_stage import Stage
from worker.sandbox.settings import PERMISSION_PROCESS, PERMISSION_UPDATE

LEADS = [f"sandbox-quarantined-{number:04}" for number in range(3)]
PROBE_NOW = "update resolver.action_parks set probe_at = now() - interval '1 s'"
FIELDS = {"postcode": "TN25 6QD"}


def test_the_first_is_refused_in_leadbytes_words_and_the_others_wait_with_the_reason(
    make_stage: Callable[..., Stage],
) -> None:
    stage = make_stage(missing_permissions=frozenset({PERMISSION_PROCESS}))
    stage.hold(*LEADS)
    stage.ask("release", *LEADS)
    assert stage.send() == {"refused": 1}
    refused, *waiting = stage.rows()
    assert refused["message"] == (
        "LeadByte: API key lacks permission: Leads > Quarantine Process; Leads > Quarantine Process."
        " The key needs the permission 'Leads > Update & Quarantine Process'"
    )
    assert [row["action_state"] for row in waiting] == ["requested", "requested"]
    assert all("waits for the key's permission" in row["message"] for row in waiting)
    stage.poll()
    assert stage.sql("select paused_until from resolver.accounts") == [(None,)]


def test_a_parked_kind_does_not_hold_up_the_other(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(missing_permissions=frozenset({PERMISSION_PROCESS}))
    stage.hold(*LEADS)
    stage.ask("release", LEADS[0])
    stage.ask("release", LEADS[1])
    stage.ask("update", LEADS[2], fields=FIELDS)
    assert stage.send() == {"refused": 1, "confirmed": 1}


def test_both_in_one_wait_for_the_permission_that_is_missing(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(missing_permissions=frozenset({PERMISSION_UPDATE}))
    held = stage.hold(*LEADS)
    stage.ask("release", LEADS[0], fields=FIELDS)
    stage.ask("release", LEADS[1], fields=FIELDS)
    assert stage.send() == {"refused": 1, "requested": 1}
    stage.ask("release", LEADS[2])
    assert stage.send() == {"acknowledged": 1}
    assert stage.effects() == [(held[2], "process")]


def test_one_a_minute_probes_and_a_probe_that_is_refused_stays_requested(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(missing_permissions=frozenset({PERMISSION_PROCESS}))
    stage.hold(*LEADS)
    stage.ask("release", *LEADS)
    stage.send()
    assert stage.send() == {}
    stage.sql(PROBE_NOW)
    assert stage.send() == {"requested": 1}
    assert stage.states().count("requested") == 2


def test_a_probe_that_is_let_in_opens_the_way_for_the_rest(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    held = stage.hold(*LEADS)
    stage.box.script("@process", "403", 2)
    stage.ask("release", *LEADS)
    stage.send()
    stage.sql(PROBE_NOW)
    stage.send()
    stage.sql(PROBE_NOW)
    assert stage.send() == {"acknowledged": 2}
    assert stage.sql("select count(*) from resolver.action_parks") == [(0,)]
    assert sorted(stage.effects()) == [(one, "process") for one in sorted(held[1:])]


def test_a_key_that_is_refused_parks_actions_only(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    stage.hold(*LEADS)
    stage.ask("release", *LEADS)
    assert stage.send(key="wrong") == {"refused": 1}
    assert stage.sql("select kind from resolver.action_parks") == [("process",)]
    assert stage.sql("select pause_kind from resolver.accounts") == [(None,)]
