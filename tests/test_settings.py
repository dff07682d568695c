"""Settings: a wrong one is one clear line that names it and tells no secret."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from worker import failpoints
from worker.cli.app import run_command
from worker.errors import SettingsError
from worker.settings import Settings, list_unknown_variables, load_settings

SECRET = "s3cr3t-key-123"

WRONG = {
    "DATABASE_URL": [SECRET, f"mysql://u:{SECRET}@h/d", f"postgresql://u@h:{SECRET}/d", f"postgresql://u:p@[::1/{SECRET}"],
    "REDIS_URL": [SECRET, f"http://:{SECRET}@h", f"redis://:x@h:{SECRET}/0"],
    "LEADBYTE_AUTH": ["body", SECRET],
    "LEADBYTE_REQUESTS_PER_SECOND": ["0", "-1", "fast", "nan", "inf", "100001"],
    "LEADBYTE_CONCURRENCY": ["0", "1.5", "1001", "many"],
    "LEADBYTE_ALLOW_PLAIN_HTTP": ["perhaps"],
    "LEADBYTE_TIMEOUT_SECONDS": ["0", "31", "inf"],
    "LEAD_RESOLVER_ABANDON_AFTER_HOURS": ["0", "-1", "inf", "nan", "1e300"],
    "LEAD_RESOLVER_NOT_FOUND_GRACE_MINUTES": ["-1", "inf", "nan"],
    "LEAD_RESOLVER_BATCH_SIZE": ["0", "5001"],
    "LEAD_RESOLVER_KEEP_LEAD_DATA": ["2"],
    "LEAD_RESOLVER_TRANSPORT": ["telnet", "pycurl"],
    "LEAD_RESOLVER_LEARN": ["2"],
    "LEAD_RESOLVER_POLL_PRICE_SECONDS": ["0", "-1", "nan", "inf"],
    "LEAD_RESOLVER_FIRST_MINUTE_GAP_SECONDS": ["0", "61", "nan"],
    "LEAD_RESOLVER_LONGEST_GAP_MINUTES": ["0", "10081", "nan"],
    "LEAD_RESOLVER_LEARN_HALF_LIFE_LEADS": ["99", "1.5"],
    "LEAD_RESOLVER_LOG_FORMAT": ["xml"],
    "LEAD_RESOLVER_LOG_LEVEL": ["LOUD"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_setting_is_one_line_that_names_it_and_tells_no_secret(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{name}: ")
    assert run_command(["config"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert name in said
    assert SECRET not in said + str(caught.value)


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_an_empty_setting_is_an_unset_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unset = load_settings()
    load_settings.cache_clear()
    monkeypatch.setenv(name, "")
    assert load_settings() == unset


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgres_is_named_in_each_usual_way(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://u:p@h:5433/d")
    url = load_settings().required_database_url()
    assert (url.drivername, url.host, url.port, url.password) == ("postgresql+psycopg", "h", 5433, "p")


@pytest.mark.parametrize("url", ["redis://h", "rediss://:p@h:6379/0", "redis+socket:///run/redis", "unix:///run/redis"])
def test_redis_is_named_in_each_usual_way(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    assert load_settings().required_redis_url() == url


def test_what_is_needed_and_missing_is_named() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL is not set"):
        load_settings().required_database_url()
    with pytest.raises(SettingsError, match="REDIS_URL is not set"):
        load_settings().required_redis_url()


def test_durations_are_read_in_their_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAD_RESOLVER_ABANDON_AFTER_HOURS", "1.5")
    monkeypatch.setenv("LEAD_RESOLVER_NOT_FOUND_GRACE_MINUTES", "0")
    settings = load_settings()
    assert (settings.abandon_after, settings.not_found_grace) == (timedelta(minutes=90), timedelta(0))


def test_the_longest_patience_is_still_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAD_RESOLVER_ABANDON_AFTER_HOURS", "87600")
    assert load_settings().abandon_after == timedelta(days=3650)


SECRETS = {
    "DATABASE_URL": f"postgresql://u:{SECRET}@db.example/d?sslpassword={SECRET}&sslmode=require",
    "REDIS_URL": f"redis://:{SECRET}@redis.example:6379/0?password={SECRET}",
    "LEADBYTE_API_KEY": SECRET,
}


@pytest.mark.parametrize("arguments", [["config"], ["config", "--json"]])
def test_config_shows_where_to_and_no_secret(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    assert run_command(arguments) == 0
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    assert SECRET not in repr(load_settings()) + str(load_settings())


def test_config_tells_every_setting_with_value_default_and_meaning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    assert run_command(["config", "--json"]) == 0
    rows = {row["setting"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == [name.upper() for name in Settings.model_fields]
    assert all(row["meaning"] for row in rows.values())
    assert rows["LEADBYTE_API_KEY"]["value"] == "***"
    assert "db.example" in rows["DATABASE_URL"]["value"]
    assert "sslmode=require" in rows["DATABASE_URL"]["value"]
    assert "redis.example:6379/0" in rows["REDIS_URL"]["value"]
    assert rows["LEADBYTE_ACCOUNT"]["value"] is None
    assert (rows["LEADBYTE_CONCURRENCY"]["value"], rows["LEADBYTE_CONCURRENCY"]["default"]) == ("4", "4")


@pytest.mark.parametrize(
    "url", [f"ftp://{SECRET}", "nonsense", f"https://h/?key={SECRET}", f"https://u:{SECRET}@h/", "http://h/"]
)
def test_config_refuses_an_address_that_no_account_could_be_asked_under(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEADBYTE_BASE_URL", url)
    assert run_command(["config"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("lead-resolver: LEADBYTE_BASE_URL: ")
    assert said.err.count("\n") == 1
    assert SECRET not in said.err


@pytest.mark.parametrize("command", ["config", "doctor", "list", "up"])
def test_a_key_and_a_file_with_a_key_together_are_refused(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key_file: Path
) -> None:
    monkeypatch.setenv("LEADBYTE_API_KEY", SECRET)
    monkeypatch.setenv("LEADBYTE_API_KEY_FILE", str(key_file))
    assert run_command([command]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "lead-resolver: LEADBYTE_API_KEY_FILE: cannot be set together with LEADBYTE_API_KEY: unset one of the two"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LEADBYTE_CONCURENCY", "did you mean LEADBYTE_CONCURRENCY?"),
        ("leadbyte_api_keyfile", "did you mean LEADBYTE_API_KEY_FILE?"),
        ("LEAD_RESOLVER_LOGLEVEL", "did you mean LEAD_RESOLVER_LOG_LEVEL?"),
        ("WORKER_PROCESES", "did you mean WORKER_PROCESSES?"),
        ("LEAD_RESOLVER_COFFEE", "`lead-resolver config` lists them all"),
    ],
)
def test_config_warns_of_a_variable_that_is_no_setting_and_prints_the_rest(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["config", "--json"]) == 0
    plain = capsys.readouterr()
    assert plain.err == ""
    monkeypatch.setenv(name, SECRET)
    assert run_command(["config", "--json"]) == 0
    said = capsys.readouterr()
    assert said.out == plain.out
    assert said.err == f"warning: {name} is no setting; {hint}\n"


def test_no_variable_of_ours_or_of_others_is_taken_for_a_misspelt_one() -> None:
    ours = {name.upper(): "x" for name in Settings.model_fields}
    others = ("PATH", "LEADBYTE", "MY_LEADBYTE_ACCOUNT", "DATABASE_URI", "WORKERS", "WORKER_NAME", failpoints.VARIABLE)
    assert list(list_unknown_variables({**ours, **dict.fromkeys(others, "x")})) == []
