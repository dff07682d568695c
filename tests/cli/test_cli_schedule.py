"""`schedule` and `simulate`: from a file alone, from what was learned, and what they say of bad input."""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.cli.app import run as run_and_exit
from worker.cli.app import run_command
from worker.cli.schedule_page import say_age
from worker.learning import recompute_schedules
from worker.runtime import read_learning
from worker.settings import load_settings

Run = Callable[..., tuple[int, str, str]]
WEEK = 7 * 86_400


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout and stderr of one command; no database is configured."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = run_command([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


@pytest.fixture
def times(tmp_path: Path) -> Path:
    chance = random.Random(1)
    lines = "".join(f"{chance.lognormvariate(3, 0.7)}\r\n" for _ in range(2000))
    path = tmp_path / "times.txt"
    path.write_bytes(b"\xef\xbb\xbf# from the old system\r\n\r\n" + lines.encode())
    return path


def test_a_schedule_is_computed_from_a_file_alone(run: Run, times: Path) -> None:
    code, said, complaint = run("schedule", "--times", times, "--price", 5, "--json")
    plan = json.loads(said)
    assert (code, complaint) == (0, "")
    assert {"ages", "expected_polls", "expected_wait_seconds"} <= set(plan)
    assert plan["ages"] == sorted(set(plan["ages"]))
    assert plan["ages"][-1] == WEEK
    assert 1 <= plan["expected_polls"] < 5
    assert 0 < plan["expected_wait_seconds"] < 15


def test_the_deadline_and_the_bounds_are_options(run: Run, times: Path) -> None:
    options = ("--deadline-hours", 2, "--longest-gap-minutes", 10, "--first-minute-gap-seconds", 5)
    code, said, _ = run("schedule", "--times", times, "--price", 300, "--json", *options)
    ages = [0.0, *json.loads(said)["ages"]]
    assert code == 0
    assert ages[-1] == 7200
    assert all(end - start <= (5.01 if start < 60 else 600.01) for start, end in pairwise(ages))


def test_the_page_draws_the_times_and_compares_the_costs(run: Run, times: Path) -> None:
    code, said, _ = run("schedule", "--times", times, "--price", 5)
    assert code == 0
    for word in ("2,000 leads", "█", "╵", "1 min", "half resolve within", "learned", "default", "exponential", "1.00"):
        assert word in said


def test_times_may_come_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"30\n30\n30\n30\nnever\n")))
    code, said, _ = run("schedule", "--times", "-", "--price", 5, "--json")
    assert code == 0
    assert json.loads(said)["ages"][0] == 30


BAD = [
    ("schedule", "--times", "{bad}", "--price", "5"),
    ("schedule", "--times", "{none}", "--price", "5"),
    ("schedule", "--times", "{times}", "--price", "0"),
    ("schedule", "--times", "{times}", "--price", "nan"),
    ("schedule", "--times", "{times}", "--price", "much"),
    ("schedule", "--times", "{times}", "--deadline-hours", "0"),
    ("schedule", "--times", "{times}", "--price", "1e10"),
    ("schedule", "--times", ""),
    ("schedule", "--times", "{times}", "--longest-gap-minutes", "0.001"),
    ("schedule", "--times", "{times}", "--account", "acme"),
    ("schedule", "--price", "60"),
    ("schedule", "--deadline-hours", "60"),
    ("schedule", "--longest-gap-minutes", "60"),
    ("schedule", "--first-minute-gap-seconds", "60"),
    ("simulate", "--outage", "999999999d"),
    ("simulate", "--times", "{bad}"),
    ("simulate", "--outage", "long"),
    ("simulate", "--outage", "1.2.3h"),
    ("simulate", "--leads-per-day", "0"),
    ("simulate", "--leads-per-day", "100000", "--days", "1000"),
]


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_clear_line(run: Run, times: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"1\n\xff\n")
    paths = {"times": times, "bad": bad, "none": tmp_path / "none.txt"}
    code, said, complaint = run(*(argument.format(**paths) for argument in arguments))
    assert (code, said) == (2, "")
    assert complaint.count("\n") == 1


def test_nothing_learned_is_said(run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert "Nothing is learned yet" in run("schedule")[1]
    assert json.loads(run("schedule", "--json")[1]) == []
    code, _, complaint = run("simulate", "--account", "acme")
    assert (code, "nothing is learned of account acme" in complaint) == (4, True)


def test_what_was_learned_is_drawn(
    run: Run,
    engine: Engine,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    sql: Callable[..., list[tuple[Any, ...]]],
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    sql("insert into resolver.accounts (name) values ('acme')")
    sql("insert into resolver.resolutions (account_id, open_age, resolved_age)"
        " select 1, n / 10.0, n / 10.0 + 1 from generate_series(100, 600) n")  # fmt: skip
    assert recompute_schedules(engine, read_learning(), {}) == 1
    assert "schedule 1 of account acme: 501 leads" in run("schedule", "--account", "acme")[1]
    (learned,) = json.loads(run("schedule", "--json")[1])
    assert (learned["account"], learned["version"], learned["leads"]) == ("acme", 1, 501)
    assert max(b - a for a, b in pairwise(learned["ages"])) <= 3600.01
    assert run("simulate", "--account", "acme", "--leads-per-day", 50)[0] == 0


def test_a_simulation_is_the_same_for_the_same_seed_and_shows_an_outage(run: Run, times: Path) -> None:
    options = ("simulate", "--times", times, "--leads-per-day", 5000, "--requests-per-second", 1, "--json")
    calm, away = json.loads(run(*options)[1]), json.loads(run(*options, "--outage", "3h+1h")[1])
    assert json.loads(run(*options)[1]) == calm
    assert json.loads(run(*options, "--seed", 2)[1]) != calm
    assert calm["learned"]["resolved"] == calm["learned"]["leads"]
    assert calm["learned"]["catch_up_seconds"] is None
    assert away["learned"]["most_overdue"] > 150 > calm["learned"]["most_overdue"]
    assert away["learned"]["catch_up_seconds"] > 100
    page = run(*options[:-1], "--outage", "1h")[1]
    assert "caught up after the outage" in page


def test_a_simulation_keeps_to_a_days_budget_and_to_what_it_bears(
    run: Run, times: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("simulate", "--times", times, "--leads-per-day", 500, "--json")
    ample = json.loads(run(*options)[1])
    monkeypatch.setenv("LEADBYTE_REQUESTS_PER_DAY", "1000")
    load_settings.cache_clear()
    try:
        scarce = json.loads(run(*options)[1])
    finally:
        load_settings.cache_clear()
    assert scarce["learned"]["polls_in_time"] <= 1000 < ample["learned"]["polls_in_time"]
    assert scarce["price_seconds"] > ample["price_seconds"] == 5  # as the worker's schedule would be


def test_an_outage_after_the_end_is_refused(run: Run) -> None:
    code, _, said = run("simulate", "--outage", "30h+1h")
    assert code == 2
    assert "within the 1 days simulated" in said


def test_a_simulation_without_anything_learned_goes_by_a_guess(run: Run) -> None:
    code, said, _ = run("simulate", "--leads-per-day", 100)
    assert code == 0
    assert "100 leads a day for 1 day" in said


def test_after_an_outage_during_which_nothing_came_due_there_is_nothing_to_catch_up_with(run: Run) -> None:
    options = ("--leads-per-day", 2, "--days", 10, "--outage", "2d+1h", "--seed", 5, "--deadline-hours", 1)
    outcomes = json.loads(run("simulate", *options, "--json")[1])
    assert outcomes["learned"]["catch_up_seconds"] == outcomes["default"]["catch_up_seconds"] == 0


def test_a_simulation_stops_asking_when_the_worker_would(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("simulate", "--leads-per-day", 1000, "--json")
    shorter = json.loads(run(*options, "--deadline-hours", 1)[1])
    assert json.loads(run(*options)[1]) != shorter
    monkeypatch.setenv("LEAD_RESOLVER_ABANDON_AFTER_HOURS", "1")
    load_settings.cache_clear()
    try:
        assert json.loads(run(*options)[1]) == shorter
    finally:
        load_settings.cache_clear()


def test_a_budget_that_is_too_small_is_said_to_be(run: Run) -> None:
    code, said, _ = run("simulate", "--requests-per-second", 0.001, "--leads-per-day", 100)
    assert code == 0
    assert "raised from 5 s" in said
    assert "leads pile up" in said
    assert "100.0%" in said
    assert "raised" not in run("simulate", "--leads-per-day", 100)[1]


def test_a_file_of_leads_that_never_resolve_draws_none(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "late.txt"
    path.write_text("9000000\nnever\ninf\n", encoding="utf-8")
    code, said, _ = run("schedule", "--times", path, "--price", 5)
    assert (code, "3 leads" in said, "none resolves within 7 days" in said) == (0, True, True)
    assert "█" not in said.split("─")[0]


def test_shares_are_of_the_leads_that_resolve(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_text("30\nnever\n" * 50, encoding="utf-8")
    said = run("schedule", "--times", path, "--price", 5)[1]
    assert "of those that resolve, half do within 30 s" in said
    assert said.count("24 h") <= 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_blocks_is_drawn_for_in_plain_characters(
    times: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown, encoding=encoding))
    with pytest.raises(SystemExit) as ended:
        run_and_exit(["schedule", "--times", str(times), "--price", "5"])
    sys.stdout.flush()
    assert ended.value.code == 0
    assert b"####" in shown.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"), [(90, "90 s"), (720, "12 min"), (604_800, "7 days"), (3650 * 86_400, "3,650 days")]
)
def test_an_age_is_said_without_powers_of_ten(seconds: float, said: str) -> None:
    assert say_age(seconds) == said
