"""`request_quarantine_action`: the law of asking, its limits, and that no value leaves by its errors or by a view."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from tests.quarantine.held_stage import Sql, Stage
from worker.errors import UsageError
from worker.local.postgres import EmbeddedPostgres
from worker.quarantine import request_actions

SECRET = "PLANTED-value-77"
ASK = "select request_quarantine_action('acme', '17', 'update', %s)"


def test_asking_commits_with_the_askers_transaction(database_url: str, sql: Sql) -> None:
    with psycopg.connect(database_url) as site:
        assert site.execute("select request_quarantine_action('acme', '17', 'release')").fetchone() == ("requested",)
        site.rollback()
    assert sql("select count(*) from resolver.actions") == [(0,)]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_an_update_is_not_taken_from_a_snapshot_that_cannot_see_another_asker(
    database_url: str, sql: Sql, level: str
) -> None:
    with psycopg.connect(database_url) as site:
        site.execute(f"set transaction isolation level {level}")
        assert site.execute("select request_quarantine_action('acme', '18', 'release')").fetchone() == ("requested",)
        with pytest.raises(psycopg.errors.ActiveSqlTransaction, match="READ COMMITTED"):
            site.execute(ASK, ('{"postcode": "A1"}',))
    assert sql("select count(*) from resolver.actions") == [(0,)]


def test_the_second_asker_is_told_who_was_first(sql: Sql) -> None:
    ask = "select request_quarantine_action('acme', '17', 'release', reason => 'typo', requested_by => %s)"
    sql(ask, "kim")
    ((said,),) = sql(ask, "lee")
    assert said.startswith("already requested: release by kim at 20")
    assert said.endswith(" UTC, now requested")


def test_who_asks_is_the_database_user_unless_told(sql: Sql) -> None:
    sql("select request_quarantine_action('acme', '17', 'release')")
    assert sql("select requested_by = session_user, by_policy from reporting.quarantine") == [(True, False)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("null, '17', 'release'", "the account is no LeadByte account name"),
        ("'a b', '17', 'release'", "the account is no LeadByte account name"),
        ("'acme', null, 'release'", "an ID is 1 to 64 letters, digits and hyphens"),
        ("'acme', '17 or 1=1', 'release'", "an ID is 1 to 64 letters, digits and hyphens"),
        ("'acme', 'abcdefgh', 'release'", "no lead of account acme has the queue ID abcdefgh"),
        ("'acme', '17', null", "the action is none: update, release or reject"),
        ("'acme', '17', 'process'", "the action is none: update, release or reject"),
        ("'acme', '17', 'update'", "an update needs fields"),
        ("'acme', '17', 'release', reason => repeat('x', 501)", "the reason is longer than 500 characters"),
        ("'acme', '17', 'release', reason => E'two\\nlines'", "not one line of plain text"),
        ("'acme', '17', 'release', requested_by => ''", "who asks is not told"),
        ("'acme', '17', 'release', requested_by => null", "who asks is not told"),
    ],
)
def test_bad_input_is_refused_with_what_is_wrong(sql: Sql, arguments: str, said: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=said):
        sql(f"select request_quarantine_action({arguments})")
    assert sql("select count(*) from resolver.actions") == [(0,)]


BAD_FIELDS: list[tuple[Any, str]] = [
    ({}, "the fields must be 1 to 100"),
    ({f"f{n}": SECRET for n in range(101)}, "the fields must be 1 to 100"),
    ([SECRET], "the fields are no JSON object"),
    (SECRET, "the fields are no JSON object"),
    ({SECRET * 6: 1}, "the name of a field is none"),
    ({"a;b": SECRET}, "the name of a field is none"),
    ({"": SECRET}, "the name of a field is none"),
    ({"a": SECRET * 200}, "the value of field a is too long"),
    ({"a": int("7" * 41)}, "the value of field a is too long"),
    ({"a": None}, "the value of field a is neither text, number, true nor false"),
    ({"a": [SECRET]}, "the value of field a is neither"),
    ({"a": {"b": SECRET}}, "the value of field a is neither"),
]


@pytest.mark.parametrize(("fields", "said"), BAD_FIELDS)
def test_bad_fields_are_refused_without_a_word_of_their_values(sql: Sql, fields: Any, said: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=said) as raised:
        sql(ASK, json.dumps(fields))
    assert SECRET not in f"{raised.value} {raised.value.diag.message_detail} {raised.value.diag.context}"


@pytest.mark.parametrize(
    "fields", [*(fields for fields, _ in BAD_FIELDS if isinstance(fields, dict)), {"a": "x\x00" + SECRET},
               {"a": SECRET + "\ud800"}, {"a": float("nan")}, {"a": 10**5000}, {"a": b"x"}]
)  # fmt: skip
def test_python_refuses_the_same_and_more_in_one_clear_line(engine: Engine, sql: Sql, fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as raised:
        request_actions(engine, "acme", "update", ["17"], requested_by="kim", fields=fields)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert sql("select count(*) from resolver.actions") == [(0,)]


def test_the_largest_fields_are_taken(sql: Sql) -> None:
    fields = {f"Field {n}.name-{'x' * 60}": "é" * 2000 for n in range(100)}
    assert sql(ASK, json.dumps(fields)) == [("requested",)]


def test_python_takes_many_ids_and_tells_of_each(engine: Engine) -> None:
    ids = [*map(str, range(1, 1201)), "17", "nonsense!", "abcdefgh"]
    done = request_actions(engine, "acme", "release", ids, requested_by="policy", by_policy=True)
    assert [one.outcome for one in done].count("requested") == 1200
    assert {one.id for one in done if one.outcome == "refused"} == {"nonsense!", "abcdefgh"}


def test_values_are_gone_the_moment_they_are_no_more_needed_and_never_shown(
    stage: Stage, postgres: EmbeddedPostgres, capsys: pytest.CaptureFixture[str]
) -> None:
    lead = "sandbox-quarantined-0001"
    stage.hold(lead)
    stage.ask("update", lead, fields={"postcode": SECRET})
    assert stage.sql("select count(*) from resolver.action_fields") == [(1,)]
    assert SECRET not in json.dumps(stage.rows())
    stage.send()
    assert stage.sql("select count(*) from resolver.action_fields") == [(0,)]
    output = capsys.readouterr()
    assert SECRET not in output.out + output.err + postgres.log.read_text("utf-8", "replace")


def test_what_leadbyte_quotes_of_a_value_is_masked(stage: Stage) -> None:
    (held,) = stage.hold("sandbox-quarantined-0001")
    stage.ask("update", held, fields={"postcode": f"{SECRET} INVALID"})
    assert stage.send() == {"refused": 1}
    assert stage.rows()[0]["message"] == "LeadByte: postcode '***' is not valid"
