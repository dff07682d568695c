"""`lead-resolver track`: what is recorded, what is refused, what it says."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Sql = Callable[..., list[tuple[Any, ...]]]
Cli = Callable[..., Any]
LEAD, OTHER = "ac1e0206-6d6fd2fa-62ce91e7-ba33-5cc458e6", "ac1e0206-12eaee18-63765b37-471b-f60cd31d"


def tracked(sql: Sql) -> list[str]:
    return [name for (name,) in sql("select queue_id from resolver.leads order by id")]


def test_queue_ids_are_tracked_once(cli: Cli, sql: Sql) -> None:
    first = cli("track", LEAD, OTHER)
    assert (first.code, first.err) == (0, "")
    assert "2 new, 0 known, 0 invalid" in first.out
    again = cli("track", LEAD, "--json")
    assert again.document == {"new": 0, "known": 1, "invalid": 0, "refusals": []}
    assert sorted(tracked(sql)) == sorted([LEAD, OTHER])


def test_a_reference_is_kept(cli: Cli, sql: Sql) -> None:
    assert cli("track", LEAD, "--reference", "order 7").code == 0
    assert sql("select account, reference from reporting.leads") == [("acme", "order 7")]


@pytest.mark.parametrize(
    "content",
    [
        f"{LEAD}\n\n{OTHER}\n",
        f"queue_id,reference\n{LEAD},one\n{OTHER},two\n",
        f'{{"queueId":"{LEAD}"}}\n{{"queueId":"{OTHER}"}}\n',
        f'{{"status":"Success","results":[{{"queueId":"{LEAD}"}},{{"queueId":"{OTHER}"}}]}}',
    ],
    ids=["lines", "CSV", "JSON lines", "LeadByte's answer"],
)
def test_a_file_is_tracked_in_each_format(cli: Cli, sql: Sql, tmp_path: Path, content: str) -> None:
    (tmp_path / "ids").write_text(content, encoding="utf-8")
    assert cli("track", "--file", str(tmp_path / "ids"), "--json").document["new"] == 2
    assert sorted(tracked(sql)) == sorted([LEAD, OTHER])


def test_standard_input_is_tracked(cli: Cli, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{LEAD}\n".encode())))
    assert cli("track", OTHER, "--file", "-").code == 0
    assert sorted(tracked(sql)) == sorted([LEAD, OTHER])


@pytest.mark.parametrize(
    "bad",
    [
        "'; drop table leads; --",
        "../../x/../y",
        "%2e%2e%2fab",
        "abcdefgh?key=1",
        "ab\r\ncdefgh",
        "١٢٣٤٥٦٧٨",
        "",
        LEAD + "\n",
    ],
)
def test_a_malformed_id_is_refused_on_one_line_and_the_good_ones_are_kept(cli: Cli, sql: Sql, bad: str) -> None:
    said = cli("track", bad, LEAD)
    assert said.code == 2
    (line,) = said.err.splitlines()
    assert "is no queue ID" in line
    assert "1 new, 0 known, 1 invalid" in said.out
    assert tracked(sql) == [LEAD]


def test_a_refusal_names_its_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text(f"{LEAD}\nnonsense!\n", encoding="utf-8")
    said = cli("track", "--file", str(tmp_path / "ids"), "--json")
    assert (said.code, said.document["new"], said.document["invalid"]) == (2, 1, 1)
    assert said.document["refusals"][0]["line"] == 2
    assert "line 2: 'nonsense!' is no queue ID" in said.err


def test_of_very_many_refusals_the_first_are_shown_and_all_are_counted(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("bad!\n" * 500, encoding="utf-8")
    said = cli("track", "--file", str(tmp_path / "ids"))
    assert len(said.err.splitlines()) == 21
    assert "500 invalid" in said.out


@pytest.mark.parametrize("path", ["missing", "."])
def test_a_file_that_cannot_be_read_is_named(cli: Cli, tmp_path: Path, path: str) -> None:
    said = cli("track", "--file", str(tmp_path / path))
    assert said.code == 2
    assert str(tmp_path / path) in said.complaint


def test_nothing_to_track_is_an_error(cli: Cli) -> None:
    said = cli("track")
    assert said.code == 2
    assert "name queue IDs" in said.complaint


def test_without_an_account_it_says_which_setting_is_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEADBYTE_ACCOUNT")
    monkeypatch.delenv("LEADBYTE_API_KEY")
    said = cli("track", LEAD)
    assert said.code == 2
    assert "LEADBYTE_ACCOUNT" in said.complaint


def test_of_several_accounts_one_must_be_named(
    cli: Cli, sql: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = tmp_path / "accounts.toml"
    accounts.write_text('[accounts.one]\napi_key = "k1"\n[accounts.two]\napi_key = "k2"\n', encoding="utf-8")
    monkeypatch.delenv("LEADBYTE_ACCOUNT")
    monkeypatch.delenv("LEADBYTE_API_KEY")
    monkeypatch.setenv("LEADBYTE_ACCOUNTS_FILE", str(accounts))
    said = cli("track", LEAD)
    assert said.code == 2
    assert "one, two" in said.complaint
    assert cli("track", LEAD, "--account", "two").code == 0
    assert sql("select account from reporting.leads") == [("two",)]


def test_a_malformed_account_is_refused(cli: Cli, sql: Sql) -> None:
    assert cli("track", LEAD, "--account", "../acme").code == 2
    assert tracked(sql) == []
