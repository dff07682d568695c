"""Operating by command line, and how every command fails: one line, a setting or a thing to do, an exit code."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.conftest import replace_database
from worker.cli.app import app
from worker.local.postgres import EmbeddedPostgres

Sql = Callable[..., list[tuple[Any, ...]]]
Cli = Callable[..., Any]
COMMANDS = sorted(str(c.name or getattr(c.callback, "__name__", "")) for c in app.registered_commands)
READING = (["list"], ["show", "lead-0000"], ["report"], ["track", "lead-0000", "-a", "acme"], ["pause", "acme"],
           ["resume", "acme"], ["redrive", "--all"], ["migrate"])  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(command: Cli, name: str) -> None:
    said = command(name, "--help")
    assert (said.code, said.err) == (0, "")
    assert name in said.out


def test_no_command_is_answered_with_help(command: Cli) -> None:
    assert command("--help").code == 0
    assert command().code == 2


@pytest.mark.parametrize("arguments", [["frobnicate"], ["list", "--frobnicate"], ["show"], ["list", "--limit", "many"]])
def test_a_command_line_that_makes_no_sense_is_refused_on_one_line(command: Cli, arguments: list[str]) -> None:
    said = command(*arguments)
    assert said.code == 2
    assert said.complaint


@pytest.mark.parametrize("arguments", [["\udcff"], ["show", "caf\udce9"], ["track", "a\udcff", "-a", "acme"],
                                       ["list", "--campaign", "\udcff"], ["config", "\udcff"]])  # fmt: skip
def test_an_argument_that_is_no_text_is_refused_on_one_line(cli: Cli, arguments: list[str]) -> None:
    said = cli(*arguments)
    assert said.code == 2
    assert "is not UTF-8 text" in said.complaint


@pytest.mark.parametrize("arguments", READING, ids=lambda arguments: arguments[0])
def test_without_a_database_a_command_names_the_setting(command: Cli, arguments: list[str]) -> None:
    said = command(*arguments)
    assert said.code == 2
    assert "DATABASE_URL" in said.complaint


@pytest.mark.parametrize("url", ["nonsense", "mysql://user:hunter2@host/name", "postgresql://u:hunter2@h:port/name"])
def test_a_malformed_database_url_is_named_and_its_password_is_not_shown(
    command: Cli, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    said = command("list")
    assert said.code == 2
    assert "DATABASE_URL" in said.complaint
    assert "hunter2" not in said.complaint


@pytest.mark.parametrize("arguments", READING, ids=lambda arguments: arguments[0])
def test_with_postgres_down_a_command_says_so(
    command: Cli, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DATABASE_URL", f"postgresql://u:hunter2@127.0.0.1:{nobody.getsockname()[1]}/name")
        said = command(*arguments)
    assert said.code == 5
    assert "hunter2" not in said.complaint


def test_a_database_without_our_schema_is_answered_with_what_to_do(
    command: Cli, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.url)
    said = command("list")
    assert said.code != 0
    assert "lead-resolver migrate" in said.complaint


def test_migrate_brings_an_empty_database_to_head_and_again(
    command: Cli, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("create database fresh_for_migrate")
        monkeypatch.setenv("DATABASE_URL", replace_database(postgres.url, "fresh_for_migrate"))
        for _ in range(2):
            said = command("migrate")
            assert (said.code, said.err) == (0, "")
            assert "revision" in said.out
        connection.execute("drop database fresh_for_migrate with (force)")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server without our roles, which belong to a whole server."""
    with EmbeddedPostgres(tmp_path, fast=True) as server:
        yield server


def test_migrate_says_which_roles_it_could_not_make_and_what_makes_them(
    command: Cli, own_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(own_server.url, autocommit=True) as administrator:
        administrator.execute("create role owner login password 'owner'")
        administrator.execute("create database owned owner owner")
        url = make_url(replace_database(own_server.url, "owned"))
        monkeypatch.setenv("DATABASE_URL", url.set(username="owner", password="owner").render_as_string(False))
        first, second = command("migrate"), command("migrate")
        assert (first.code, second.code) == (0, 0)
        (line,) = first.err.splitlines()
        assert second.err == first.err  # nothing was left to migrate, and still there was no role
        assert line.startswith("warning: could not make lead_reporting and lead_intake: have an administrator run `")
    with psycopg.connect(url.render_as_string(False), autocommit=True) as administrator:
        administrator.execute(line.split("`")[1].encode())
    said = command("migrate")
    assert (said.code, said.err) == (0, "")
    marks = {found["subject"]: found["mark"] for found in command("doctor", "--json").document}
    assert (marks["reporting"], marks["intake"]) == ("ok", "ok")


def test_config_prints_every_setting_and_no_secret(cli: Cli) -> None:
    settings = {row["setting"]: row for row in cli("config", "--json").document}
    assert settings["LEADBYTE_API_KEY"]["value"] == "***"
    assert settings["LEADBYTE_ACCOUNT"]["value"] == "acme"
    assert "***" in settings["DATABASE_URL"]["value"]
    assert all(row["meaning"] for row in settings.values())
    said = cli("config")
    assert said.code == 0
    assert "planted-key-9137" not in said.out


def test_an_account_is_paused_and_resumed(cli: Cli, sql: Sql) -> None:
    assert cli("pause", "acme", "--reason", "holiday").code == 0
    assert sql("select pause_kind, pause_reason from resolver.accounts") == [("operator", "holiday")]
    assert "acme goes on" in cli("resume", "acme").out
    assert sql("select pause_kind, paused_until from resolver.accounts") == [(None, None)]
    assert "was not paused" in cli("resume", "acme").out


@pytest.mark.parametrize("name", ["pause", "resume"])
def test_what_is_no_account_is_not_paused(cli: Cli, sql: Sql, name: str) -> None:
    assert cli(name, "no account").code == 2
    assert sql("select count(*) from resolver.accounts") == [(0,)]


def test_an_abandoned_lead_is_redriven(cli: Cli, sql: Sql) -> None:
    cli("track", "lead-0000", "lead-0001")
    sql("delete from resolver.watches")
    sql("update resolver.leads set state = 'abandoned', state_reason = 'gone'")
    assert cli("redrive", "lead-0000").code == 0
    assert sql("select queue_id from resolver.watches") == [("lead-0000",)]
    assert cli("redrive", "--all").code == 0
    assert sql("select count(*) from reporting.leads where state = 'queued'") == [(2,)]
    assert sql("select count(*) from reporting.events where cause = 'redriven by an operator'") == [(2,)]


def test_a_lead_that_is_neither_abandoned_nor_parked_is_not_redriven(cli: Cli) -> None:
    cli("track", "lead-0000")
    said = cli("redrive", "lead-0000")
    assert said.code == 4
    assert "abandoned or parked" in said.complaint


def test_redriving_needs_leads_or_all(cli: Cli) -> None:
    said = cli("redrive")
    assert said.code == 2
    assert "--all" in said.complaint


def test_the_version_is_told(command: Cli) -> None:
    said = command("--version")
    assert (said.code, said.out) == (0, f"lead-resolver {version('lead-resolver')}\n")
