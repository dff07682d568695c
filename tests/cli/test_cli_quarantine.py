"""`lead-resolver quarantine`: what is asked for, what is refused, what is shown, and to what end it comes."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.quarantine.held_stage import Stage
from worker.settings import load_settings

Cli = Callable[..., Any]
LEAD, OTHER = "sandbox-quarantined-0001", "sandbox-quarantined-0002"
SOLD = "sandbox-sold-0001"
SECRET = "TN25=6QD-planted"


@pytest.fixture
def cli(command: Cli, stage: Stage, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line of the stage's account."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("LEADBYTE_ACCOUNT", "sandbox")
    monkeypatch.setenv("LEADBYTE_API_KEY", "sandbox-key")
    monkeypatch.setenv("LEADBYTE_BASE_URL", stage.box.base_url)
    monkeypatch.setenv("LOGNAME", "kim")
    monkeypatch.setenv("COLUMNS", "200")
    return command


@contextmanager
def working(stage: Stage) -> Iterator[None]:
    """Somebody sends and looks meanwhile, as a worker does."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            stage.send()
            stage.effects()
            stage.poll()
            stage.look()

    worker = threading.Thread(target=work)
    with structlog.testing.capture_logs():  # stdout is the command's
        worker.start()
        try:
            yield
        finally:
            over.set()
            worker.join()


def make_unsure(stage: Stage) -> None:
    """An update whose answer got lost: only a person can tell."""
    stage.box.script("@update", "cut-headers", 1)
    stage.send()
    stage.look()


def held_row(stage: Stage) -> dict[str, Any]:
    (row,) = stage.rows()
    return row


def test_an_update_is_recorded_with_who_asked_and_why(cli: Cli, stage: Stage) -> None:
    stage.hold(LEAD)
    said = cli("quarantine", "update", LEAD, "--set", f"postcode={SECRET}", "--set", "city=", "--reason", "typo")
    assert (said.code, said.err) == (0, "")
    assert "1 requested, 0 already requested, 0 refused" in said.out
    row = held_row(stage)
    assert (row["action"], row["fields"], row["requested_by"], row["reason"]) == (
        "update", ["city", "postcode"], "kim", "typo",
    )  # fmt: skip
    assert stage.sql("select fields from resolver.action_fields") == [({"postcode": SECRET, "city": ""},)]
    assert SECRET not in said.out


@pytest.mark.parametrize("action", ["release", "reject"])
def test_asking_again_is_fine_and_says_by_whom_when_and_how_far_it_is(cli: Cli, stage: Stage, action: str) -> None:
    (held,) = stage.hold(LEAD)
    assert cli("quarantine", action, LEAD).code == 0
    again = cli("quarantine", action, held, "--by", "lee")
    assert again.code == 0
    assert "already requested" in again.out
    assert f"{action} by kim at 20" in again.out
    assert "now requested" in again.out
    assert len(stage.rows()) == 1


@pytest.mark.parametrize("text", [f"{LEAD}\n\n# a comment\n{OTHER}\n", f"quarantine_id,name\n{LEAD},A\n{OTHER},B\n",
                                  f"name;Queue ID\nA;{LEAD}\nB;{OTHER}\n"])  # fmt: skip
def test_ids_come_from_a_file_or_standard_input(
    cli: Cli, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    stage.hold(LEAD, OTHER)
    (tmp_path / "ids").write_text(text, encoding="utf-8")
    assert "2 requested" in cli("quarantine", "release", "--file", str(tmp_path / "ids")).out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert "2 already requested" in cli("quarantine", "release", "--file", "-").out


def test_a_bad_id_is_one_line_and_the_good_ones_are_recorded(cli: Cli, stage: Stage, tmp_path: Path) -> None:
    stage.hold(LEAD, OTHER)
    stage.sql("update resolver.leads set state = 'approved', resolved_at = now() where queue_id = %s", OTHER)
    (tmp_path / "ids").write_text(f"{LEAD}\nno ID!\n{OTHER}\n", encoding="utf-8")
    said = cli("quarantine", "release", "--file", str(tmp_path / "ids"))
    assert said.code == 2
    assert said.err.splitlines() == [
        "lead-resolver: line 2: 'no ID!': an ID is 1 to 64 letters, digits and hyphens",
        f"lead-resolver: line 3: lead {OTHER} is approved, not quarantined: there is nothing to release",
    ]
    assert "1 requested, 0 already requested, 2 refused" in said.out


def test_a_lead_that_is_not_there_has_an_exit_code_of_its_own(cli: Cli, stage: Stage) -> None:
    stage.hold(LEAD)
    said = cli("quarantine", "release", LEAD, "nobody-knows-it")
    assert said.code == 4
    assert "no lead of account sandbox has the queue ID nobody-knows-it" in said.err
    assert cli("quarantine", "release", "nobody-knows-it", "no ID!").code == 2
    assert cli("quarantine", "show", "nobody-knows-it").code == 4
    assert cli("quarantine", "resolve", "99", "--done").code == 4


@pytest.mark.parametrize("changes", [["--set", SECRET.replace("=", "")], ["--set", f"={SECRET}"],
                                     ["--set", f"a={SECRET}", "--set", f"A={SECRET}"], ["--set", f"a={SECRET * 200}"],
                                     ["--set", f"{SECRET}\udcff"], [f"--set=a={SECRET}\udcff"]])  # fmt: skip
def test_a_malformed_change_is_refused_on_one_line_that_quotes_nothing(
    cli: Cli, stage: Stage, changes: list[str]
) -> None:
    stage.hold(LEAD)
    said = cli("quarantine", "update", LEAD, *changes)
    assert said.code == 2
    assert "TN25" not in said.complaint
    assert "planted" not in said.complaint
    assert stage.states() == [None]


@pytest.mark.parametrize("arguments", [["update", LEAD], ["release"], ["resolve", "1"], ["list", "--state", "odd"],
                                       ["resolve", "1", "--done", "--resend"], ["resolve", "x", "--done"],
                                       ["resolve", "1", "--resend", "--withdraw"], ["resolve", "1", "--set", "a=b"],
                                       ["release", LEAD, "--dry-run", "--wait"], ["release", "-f", "/no/such"],
                                       ["release", LEAD, "--reason", "x" * 501], ["release", LEAD, "--by", "\n"],
                                       ["release", LEAD, "-a", "no account"]])  # fmt: skip
def test_what_makes_no_sense_is_refused_on_one_line(cli: Cli, stage: Stage, arguments: list[str]) -> None:
    stage.hold(LEAD)
    said = cli("quarantine", *arguments)
    assert said.code == 2
    assert said.complaint
    assert stage.states() == [None]


@pytest.mark.parametrize(
    ("arguments", "method", "path", "body"),
    [
        (["update", "--set", "a=b=c"], "PUT", "leads", {"leads": [{"quarantineId": "ID", "update": {"a": "b=c"}}]}),
        (
            ["reject", "--set", "a=b"],
            "PUT",
            "leads",
            {"leads": [{"quarantineId": "ID", "update": {"a": "b"}, "action": "reject"}]},
        ),
        (["release"], "POST", "quarantine/process", {"quarantineId": 0, "action": "process"}),
    ],
)
def test_a_dry_run_shows_the_request_as_it_is_sent_and_records_nothing(
    cli: Cli, stage: Stage, arguments: list[str], method: str, path: str, body: dict[str, Any]
) -> None:
    (held,) = stage.hold(LEAD)
    asked = ("quarantine", *arguments, LEAD, "--dry-run")
    (request,) = cli(*asked, "--json").document["requests"]
    assert (request["method"], request["url"]) == (method, f"{stage.box.base_url}/{path}")
    assert request["headers"]["X_KEY"] == "***"
    expected = json.loads(json.dumps(body).replace('"ID"', f'"{held}"').replace(": 0,", f": {held},"))
    assert request["body"] == expected
    said = cli(*asked).out
    assert json.dumps(expected) in said
    assert "nothing was recorded" in said
    assert "sandbox-key" not in said
    assert stage.states() == [None]


def test_waiting_ends_well_when_all_are_confirmed(cli: Cli, stage: Stage) -> None:
    (held, _) = stage.hold(LEAD, OTHER)
    with working(stage):
        said = cli("quarantine", "release", LEAD, OTHER, "--wait", "--timeout", "60", "--json")
    assert said.code == 0
    assert [action["action_state"] for action in said.document["actions"]] == ["confirmed"] * 2
    assert not said.document["timed_out"]
    with working(stage):
        late = cli("quarantine", "release", held, "--wait")
    assert late.code == 2  # it is held no more
    assert "is approved, not quarantined" in late.err


def test_waiting_that_takes_too_long_ends_with_a_code_of_its_own(cli: Cli, stage: Stage) -> None:
    stage.hold(LEAD)
    said = cli("quarantine", "release", LEAD, "--wait", "--timeout", "0")
    assert said.code == 8
    assert "0 of 1 actions are confirmed, 1 not sent yet; `lead-resolver doctor`" in said.err


def test_waiting_for_what_was_refused_or_waits_for_a_person_says_so(cli: Cli, stage: Stage) -> None:
    (held, _) = stage.hold(LEAD, OTHER)
    stage.box.script(held, "denied200", 1)
    with working(stage):
        refused = cli("quarantine", "release", LEAD, "--wait")
    assert refused.code == 8
    assert "1 refused" in refused.err
    stage.box.script("@update", "cut-headers", 1)
    with working(stage):
        unsure = cli("quarantine", "update", OTHER, "--set", "a=b", "--wait")
    assert unsure.code == 8
    assert "1 waiting for a person" in unsure.err
    assert "lead-resolver quarantine resolve 2 --done\n" in unsure.out
    assert "lead-resolver quarantine resolve 2 --resend --set a=…\n" in unsure.out
    behind = cli("quarantine", "release", OTHER, "--wait")
    assert behind.code == 8
    assert "1 behind an earlier action that waits for a person" in behind.err
    assert "lead-resolver quarantine resolve 2 --done" in behind.out


def test_waiting_for_another_way_out_than_was_asked_for_does_not_end_well(cli: Cli, stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD)
    with working(stage):
        said = cli("quarantine", "reject", LEAD, "--wait")
    assert said.code == 8
    assert "1 not to reject, but to release" in said.err


def test_the_list_begins_with_what_waits_for_a_person(cli: Cli, stage: Stage) -> None:
    leads = [f"sandbox-quarantined-{number:04}" for number in range(1, 5)]
    stage.hold(*leads)
    stage.ask("update", leads[2], fields={"a": SECRET}, reason="typo")
    make_unsure(stage)
    stage.ask("release", leads[1])
    stage.ask("release", leads[0])
    stage.sql("update resolver.actions set state = 'confirmed', concluded_at = now() where id = 3")
    stage.sql("update resolver.leads set state = 'approved', resolved_at = now() where queue_id = %s", leads[0])
    rows = cli("quarantine", "list", "--json").document
    assert [row["queue_id"] for row in rows] == [leads[2], leads[1], leads[3]]
    assert [row["waits_for_person"] for row in rows] == [True, False, False]
    assert [row["queue_id"] for row in cli("quarantine", "list", "--all", "--json").document][3] == leads[0]
    said = cli("quarantine", "list").out
    assert [said.index(word) for word in ("Waits for a person", "Under way", "Held\n")] == sorted(
        said.index(word) for word in ("Waits for a person", "Under way", "Held\n")
    )
    assert "lead-resolver quarantine resolve 1 --resend --set a=…\n" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("options", "number"),
    [
        (["--waiting"], 1),
        (["--state", "unsure"], 1),
        (["--state", "none"], 1),
        (["--held"], 2),
        (["--limit", "1"], 1),
        (["-a", "nobody"], 0),
    ],
)
def test_the_list_is_narrowed(cli: Cli, stage: Stage, options: list[str], number: int) -> None:
    stage.hold(LEAD, OTHER)
    stage.ask("update", LEAD, fields={"a": "b"})
    make_unsure(stage)
    said = cli("quarantine", "list", *options)
    assert said.out.count("quarantine ID") == number
    assert len(cli("quarantine", "list", *options, "--json").document) == number


def test_the_story_of_a_lead_is_told_in_order_with_what_is_next(cli: Cli, stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    stage.ask("update", LEAD, fields={"postcode": SECRET}, reason="typo mended")
    stage.send()
    stage.ask("release", LEAD)
    said = cli("quarantine", "show", held)
    story = cli("quarantine", "show", LEAD, "--json").document
    assert [moment["what"] for moment in story["story"]] == [
        "held", "update of postcode requested by kim", "update sent", "update confirmed (done by us)",
        "release requested by kim",
    ]  # fmt: skip
    assert story["story"][1]["said"] == "typo mended"
    assert story["actions"][1]["next"] == "is sent within seconds by a running worker"
    for part in ("LeadByte: Quarantine lead updated", "Next", "release (action 2) is sent within seconds"):
        assert part in said.out
    assert SECRET not in said.out


def test_the_story_names_the_two_commands_of_what_waits_for_a_person(cli: Cli, stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("update", LEAD, fields={"a": "b"})
    make_unsure(stage)
    said = cli("quarantine", "show", LEAD).out
    assert "lead-resolver quarantine resolve 1 --done\n" in said
    assert "lead-resolver quarantine resolve 1 --resend --set a=…\n" in said


def test_a_person_says_what_became_of_an_unsure_action(cli: Cli, stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("update", LEAD, fields={"a": "b"})
    make_unsure(stage)
    again = cli("quarantine", "resolve", "1", "--resend", "--set", "a=b", "--by", "lee", "--json")
    assert (again.code, again.document["state"]) == (0, "requested")
    make_unsure(stage)
    done = cli("quarantine", "resolve", "1", "--done")
    assert done.code == 0
    assert "it happened, says kim" in done.out
    assert "lead-resolver: action 1 is confirmed" in cli("quarantine", "resolve", "1", "--done").err


@pytest.mark.parametrize("changes", [[], ["a=b"], ["a=b", "First Name=c", "d=e"], ["a=b", "first name=c"],
                                     ["a=…", "First Name=…"]])  # fmt: skip
def test_sending_it_again_without_its_values_is_refused_on_one_line_that_names_them(
    cli: Cli, stage: Stage, changes: list[str]
) -> None:
    stage.hold(LEAD)
    stage.ask("update", LEAD, fields={"a": SECRET, "First Name": SECRET})
    make_unsure(stage)
    before = stage.sql("select * from resolver.actions")
    said = cli("quarantine", "resolve", "1", "--resend", *[part for change in changes for part in ("--set", change)])
    assert (said.code, said.out) == (2, "")
    assert "nothing was changed" in said.complaint
    if "…" not in str(changes):
        assert 'quarantine resolve 1 --resend --set "First Name=…" --set a=…`' in said.complaint
    assert stage.sql("select * from resolver.actions") == before


def test_sending_it_again_with_its_values_ends_well(cli: Cli, stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    stage.box.script("@update", "lostrequest", 1)
    stage.ask("release", LEAD, fields={"a": SECRET, "First Name": SECRET})
    stage.send()
    said = cli("quarantine", "resolve", "1", "--resend", "--set", f"First Name={SECRET}", "--set", "a=b")
    assert (said.code, said.err) == (0, "")
    assert SECRET not in said.out
    stage.send()
    assert stage.effects() == [(held, "update"), (held, "process")]
    assert stage.sql("select count(*) from resolver.action_fields") == [(0,)]


def test_what_is_not_to_be_sent_again_is_withdrawn(cli: Cli, stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("update", LEAD, fields={"a": "b"})
    make_unsure(stage)
    said = cli("quarantine", "resolve", "1", "--withdraw", "--json")
    assert (said.code, said.document["state"]) == (0, "refused")
    assert stage.sql("select done_by, next_try_at from resolver.actions") == [(None, None)]


def test_show_mentions_open_actions_in_its_why(cli: Cli, stage: Stage) -> None:
    stage.hold(LEAD)
    assert cli("show", LEAD, "--json").document["actions"] == []
    stage.ask("update", LEAD, fields={"a": "b"})
    make_unsure(stage)
    lead = cli("show", LEAD, "--json").document
    assert [action["action_state"] for action in lead["actions"]] == ["unsure"]
    assert "update (action 1) by kim waits for a person" in lead["why"]


def test_a_lead_never_held_has_no_such_story(cli: Cli, stage: Stage) -> None:
    stage.sql("select track_lead('sandbox', %s)", SOLD)
    said = cli("quarantine", "show", SOLD)
    assert said.code == 4
    assert f"lead {SOLD} is queued" in said.complaint


def test_the_story_foretells_what_will_be_done_by_rule(cli: Cli, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.hold(LEAD)
    assert "nothing by itself" in cli("quarantine", "show", LEAD).out
    monkeypatch.setenv("LEADBYTE_RELEASE_WHEN_FIELDS", "shoe size")
    monkeypatch.setenv("LEADBYTE_REJECT_AFTER_DAYS", "3")
    load_settings.cache_clear()
    said = cli("quarantine", "show", LEAD).out
    assert "released once these fields are there: shoe size (LEADBYTE_RELEASE_WHEN_FIELDS), unless" in said
    assert "UTC (LEADBYTE_REJECT_AFTER_DAYS), unless somebody acts before" in said
