"""The doctor says of each thing that is wrong that it is, what to do, and shows no secret while it does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy.engine import make_url

from tests.conftest import replace_database
from tests.leadbyte.raw_server import always, encode, serve
from worker.cli.app import run_command
from worker.doctor import examine
from worker.findings import Finding, Mark
from worker.local.redis import EmbeddedRedis
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.settings import load_settings

Sql = Callable[..., list[tuple[Any, ...]]]
Diagnose = Callable[..., list[Finding]]

_KEY = "PLANTED-api-key"
_PASSWORD = "PLANTED-password"


@pytest.fixture
def box() -> Iterator[SandboxClient]:
    with running_sandbox(SandboxSettings(key=_KEY, account="acme")) as box:
        yield box


@pytest.fixture
def healthy(
    monkeypatch: pytest.MonkeyPatch, database_url: str, redis_server: EmbeddedRedis, box: SandboxClient, sql: Sql
) -> None:
    """Everything in order."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("LEADBYTE_ACCOUNT", "acme")
    monkeypatch.setenv("LEADBYTE_API_KEY", _KEY)
    monkeypatch.setenv("LEADBYTE_BASE_URL", box.base_url)
    sql("insert into resolver.ticks (duty, at) values ('tick', clock_timestamp())")


@pytest.fixture
def diagnose(monkeypatch: pytest.MonkeyPatch) -> Diagnose:
    """The findings under some changed settings; None unsets one."""

    def look(**changes: str | None) -> list[Finding]:
        for name, value in changes.items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        load_settings.cache_clear()
        return list(examine(load_settings()))

    return look


def pick(findings: list[Finding], subject: str, mark: Mark | None = None) -> list[str]:
    """What was found of a subject (and as bad as that)."""
    return [found.text for found in findings if found.subject == subject and mark in {None, found.mark}]


@pytest.mark.usefixtures("healthy")
def test_where_all_is_well_every_line_says_so(diagnose: Diagnose) -> None:
    findings = diagnose()
    assert {found.mark for found in findings} == {Mark.OK}, findings
    subjects = {found.subject for found in findings}
    assert subjects == {"Postgres", "clocks", "schema", "reporting", "intake", "beat", "Redis", "account acme",
                        "re-checks"}  # fmt: skip
    assert run_command(["doctor"]) == 0


@pytest.mark.usefixtures("healthy")
def test_a_misspelt_setting_is_warned_of_and_changes_nothing_else(diagnose: Diagnose) -> None:
    plain = diagnose()
    warning, *others = diagnose(LEADBYTE_CONCURENCY="9")
    assert warning.mark is Mark.WARNING
    assert warning.text == "LEADBYTE_CONCURENCY is no setting; did you mean LEADBYTE_CONCURRENCY?"
    assert [(found.mark, found.subject) for found in others] == [(found.mark, found.subject) for found in plain]


def test_without_any_setting_each_missing_one_is_named(diagnose: Diagnose) -> None:
    findings = diagnose()
    assert {found.mark for found in findings} == {Mark.FAILED}
    for subject, setting in (("Postgres", "DATABASE_URL"), ("Redis", "REDIS_URL"), ("account", "LEADBYTE_ACCOUNT")):
        assert setting in pick(findings, subject)[0]


@pytest.mark.usefixtures("healthy")
def test_a_wrong_database_password_is_said(diagnose: Diagnose, database_url: str) -> None:
    wrong = make_url(database_url).set(password=_PASSWORD).render_as_string(hide_password=False)
    (said,) = pick(diagnose(DATABASE_URL=wrong), "Postgres", Mark.FAILED)
    assert "password authentication failed" in said
    assert "DATABASE_URL" in said


@pytest.mark.usefixtures("healthy")
def test_a_postgres_that_is_not_there_is_said(diagnose: Diagnose) -> None:
    (said,) = pick(diagnose(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing"), "Postgres", Mark.FAILED)
    assert "refused" in said


@pytest.mark.usefixtures("healthy")
def test_a_user_without_rights_is_told_so(diagnose: Diagnose, database_url: str, sql: Sql) -> None:
    role = f"poor_{make_url(database_url).database}"
    sql(f"create role {role} login password 'poor'")
    url = make_url(database_url).set(username=role, password="poor").render_as_string(hide_password=False)
    (said,) = pick(diagnose(DATABASE_URL=url), "Postgres", Mark.FAILED)
    assert "permission denied" in said
    sql(f"drop role {role}")


@pytest.mark.usefixtures("healthy")
def test_a_schema_behind_is_a_failure_that_names_the_command(diagnose: Diagnose, database_url: str, sql: Sql) -> None:
    sql("update resolver.alembic_version set version_num = '0001'")
    (said,) = pick(diagnose(), "schema", Mark.FAILED)
    assert said.startswith("at 0001, needs ")
    assert "lead-resolver migrate" in said
    name = f"{make_url(database_url).database}_empty"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        (said,) = pick(diagnose(DATABASE_URL=replace_database(database_url, name)), "schema", Mark.FAILED)
        connection.execute(f"drop database {name} with (force)")
    assert said.startswith("at nothing, needs ")


@pytest.mark.usefixtures("healthy")
def test_rechecks_are_said_to_be_off_or_how_they_are_made(diagnose: Diagnose) -> None:
    (off,) = [finding for finding in diagnose() if finding.subject == "re-checks"]
    assert (off.mark, "LEAD_RESOLVER_RECHECK_DAYS" in off.text) == (Mark.OK, True)
    (on,) = [finding for finding in diagnose(LEAD_RESOLVER_RECHECK_DAYS="7") if finding.subject == "re-checks"]
    said = "every 24 h for 7 days, on at most 10% of each account's requests: 0 leads, 0 of them due"
    assert (on.mark, on.text) == (Mark.OK, said)


@pytest.mark.usefixtures("healthy")
def test_a_role_without_the_rights_it_is_for_is_warned_of(diagnose: Diagnose, sql: Sql) -> None:
    sql("revoke select on reporting.daily from lead_reporting")
    sql("revoke execute on function track_lead from lead_intake")
    assert "may not read the schema reporting" in pick(diagnose(), "reporting", Mark.WARNING)[0]
    assert "may not call track_lead" in pick(diagnose(), "intake", Mark.WARNING)[0]


@pytest.mark.usefixtures("healthy")
def test_a_beat_that_is_silent_or_never_ticked_is_noticed(diagnose: Diagnose, sql: Sql) -> None:
    sql("update resolver.ticks set at = clock_timestamp() - interval '2 minutes'")
    assert "are the processes beat and worker running" in pick(diagnose(), "beat", Mark.FAILED)[0]
    sql("delete from resolver.ticks")
    assert "never ticked" in pick(diagnose(), "beat", Mark.WARNING)[0]


@pytest.mark.usefixtures("healthy")
def test_a_redis_that_may_forget_is_warned_of(diagnose: Diagnose, redis_server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        findings = diagnose()
        client.config_set("maxmemory-policy", "noeviction")
    assert "allkeys-lru: set noeviction" in pick(findings, "Redis", Mark.WARNING)[0]


@pytest.mark.usefixtures("healthy")
def test_a_redis_that_is_down_or_refuses_us_is_a_failure(diagnose: Diagnose, redis_server: EmbeddedRedis) -> None:
    assert "does not answer" in pick(diagnose(REDIS_URL="redis://127.0.0.1:1/0"), "Redis", Mark.FAILED)[0]
    wrong = f"redis://:{_PASSWORD}@{redis_server.url.rpartition('@')[2]}"
    assert "check user and password" in pick(diagnose(REDIS_URL=wrong), "Redis", Mark.FAILED)[0]


@pytest.mark.usefixtures("healthy")
def test_a_wrong_key_is_a_failure(diagnose: Diagnose) -> None:
    assert "refuses the key" in pick(diagnose(LEADBYTE_API_KEY="wrong"), "account acme", Mark.FAILED)[0]


@pytest.mark.usefixtures("healthy")
def test_a_missing_permission_is_a_failure_that_names_it(diagnose: Diagnose) -> None:
    with running_sandbox(SandboxSettings(key=_KEY, missing_permissions=frozenset({"API queue"}))) as box:
        (said,) = pick(diagnose(LEADBYTE_BASE_URL=box.base_url), "account acme", Mark.FAILED)
    assert "API queue" in said


@pytest.mark.usefixtures("healthy")
def test_a_wrong_host_is_noticed(diagnose: Diagnose, box: SandboxClient) -> None:
    (said,) = pick(diagnose(LEADBYTE_BASE_URL="https://leadbyte.invalid/rest"), "account acme", Mark.FAILED)
    assert "connection failed; check LEADBYTE_ACCOUNT" in said
    assert "LEADBYTE_BASE_URL" in pick(diagnose(LEADBYTE_BASE_URL=f"{box.root_url}/elsewhere"), "account acme")[0]
    with serve(always(encode(b"<html>404</html>", status="404 Not Found"))) as server:
        assert "LEADBYTE_BASE_URL" in pick(diagnose(LEADBYTE_BASE_URL=server.url), "account acme", Mark.WARNING)[0]


@pytest.mark.usefixtures("healthy")
def test_a_404_in_leadbytes_own_words_is_no_wrong_host(diagnose: Diagnose) -> None:
    with running_sandbox(SandboxSettings(key=_KEY, not_found_http_status=404)) as box:
        assert pick(diagnose(LEADBYTE_BASE_URL=box.base_url), "account acme", Mark.OK)


@pytest.mark.usefixtures("healthy")
def test_an_account_without_a_key_and_an_unreadable_key_file_are_named(diagnose: Diagnose, tmp_path: Path) -> None:
    assert "LEADBYTE_API_KEY" in pick(diagnose(LEADBYTE_API_KEY=None), "account", Mark.FAILED)[0]
    missing = str(tmp_path / "missing")
    assert missing in pick(diagnose(LEADBYTE_API_KEY=None, LEADBYTE_API_KEY_FILE=missing), "account", Mark.FAILED)[0]


@pytest.mark.usefixtures("healthy")
def test_a_paused_account_is_warned_of_for_as_long_as_it_is_paused(diagnose: Diagnose, sql: Sql) -> None:
    assert run_command(["pause", "acme", "--reason", "holidays"]) == 0
    assert "paused until resumed: holidays" in pick(diagnose(), "account acme", Mark.WARNING)
    sql("update resolver.accounts set paused_until = clock_timestamp() - interval '1 second'")
    assert pick(diagnose(), "account acme", Mark.WARNING) == []


@pytest.mark.usefixtures("healthy")
def test_blocks_that_the_key_never_appends_are_named(diagnose: Diagnose, sql: Sql) -> None:
    ((account,),) = sql("insert into resolver.accounts (name) values ('acme') returning id")
    ((lead,),) = sql(
        "insert into resolver.leads (account_id, queue_id, state, resolved_at) "
        "values (%s, 'ac1e0206-1', 'approved', now()) returning id",
        account,
    )
    sql(
        "insert into resolver.outcomes (lead_id, campaign_id, buyers_told, deliveries_told, last_reply_id) "
        "values (%s, '7', true, false, 1)",
        lead,
    )
    assert any("never had: deliveries, supplier;" in said for said in pick(diagnose(), "account acme", Mark.WARNING))
    sql("update resolver.outcomes set deliveries_told = true, supplier_id = '3'")
    assert pick(diagnose(), "account acme", Mark.WARNING) == []


@pytest.mark.usefixtures("healthy")
def test_warnings_alone_do_not_fail_the_command_and_json_has_every_line(
    diagnose: Diagnose, sql: Sql, capsys: pytest.CaptureFixture[str]
) -> None:
    sql("delete from resolver.ticks")
    expected = diagnose()
    assert run_command(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [line["subject"] for line in told] == [found.subject for found in expected]
    assert "warning" in {line["mark"] for line in told}
    assert all(set(line) == {"mark", "subject", "text"} for line in told)


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"]])
def test_failures_end_with_exit_code_1_and_no_secret_is_printed(
    diagnose: Diagnose,
    arguments: list[str],
    database_url: str,
    redis_server: EmbeddedRedis,
    capfd: pytest.CaptureFixture[str],
) -> None:
    diagnose(
        DATABASE_URL=make_url(database_url).set(password=_PASSWORD).render_as_string(hide_password=False),
        REDIS_URL=f"redis://:{_PASSWORD}@{redis_server.url.rpartition('@')[2]}",
        LEADBYTE_API_KEY=f"{_KEY}-wrong",
    )
    assert run_command(arguments) == 1
    printed = "".join(capfd.readouterr())
    assert "failed" in printed
    assert "PLANTED" not in printed


@pytest.mark.usefixtures("healthy")
def test_an_action_that_waits_for_over_an_hour_to_be_sent_is_a_warning(diagnose: Diagnose, sql: Sql) -> None:
    sql("select request_quarantine_action('acme', '17', 'update', '{\"a\": \"b\"}')")
    assert not pick(diagnose(), "account acme", Mark.WARNING)
    sql("update resolver.actions set requested_at = requested_at - interval '61 min'")
    (said,) = pick(diagnose(), "account acme", Mark.WARNING)
    assert said.startswith("1 actions have waited for over an hour to be sent")
    assert "quarantine list --state requested" in said
