"""The demo and `up`, as a person runs them: whole processes, real servers, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from worker.sandbox import SandboxSettings, running_sandbox

pytestmark = pytest.mark.processes

COMMAND = (sys.executable, "-m", "worker")
PATIENCE_SECONDS = 240


@contextmanager
def started(*arguments: str, temp: Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "TMPDIR": str(temp), **settings}
    with subprocess.Popen(
        [*COMMAND, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def processes_of(folder: Path) -> list[str]:
    """Command lines and environments of live processes that name this test's folder: ours, and our children's."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in text:
                found.append(process.name)
    return found


def test_two_demos_at_once_agree_with_leadbyte_and_one_that_is_kept_says_how_other_shells_reach_it(
    tmp_path: Path,
) -> None:
    with (
        started("demo", "--leads", "40", "--keep", "--seed", "2", temp=tmp_path) as kept,
        started("demo", "--leads", "40", "--json", temp=tmp_path) as other,
    ):
        assert kept.stderr is not None
        line = next(line for line in kept.stderr if line.startswith("other shells"))
        file = Path(line.partition(" . ")[2].strip())
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        settings = read_environment(file)
        assert len(json.loads(ask("list", "--limit", "100", "--json", **settings))) == 40
        assert "1 new" in ask("track", "sandbox-approved-0001", **settings)
        report = read_report(other)
        check_report(report)
        assert report["states"]["returned"] == 2  # as its seed has it
        kept.send_signal(signal.SIGINT)
        printed, _ = kept.communicate(timeout=PATIENCE_SECONDS)
        assert re.search(r"40 of 40 leads agree with LeadByte, and all \d+ effects", printed)
        assert kept.returncode == 130
    assert list(tmp_path.iterdir()) == []
    wait_until(lambda: processes_of(tmp_path) == [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_demo_leaves_no_process_and_no_file(tmp_path: Path, number: signal.Signals) -> None:
    with started("demo", "--leads", "40", temp=tmp_path) as demo:
        assert demo.stderr is not None
        wait_until(lambda: "polls" in str(demo.stderr and demo.stderr.readline()))
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=PATIENCE_SECONDS)
        assert demo.returncode == 130, errors
    assert list(tmp_path.iterdir()) == []
    wait_until(lambda: processes_of(tmp_path) == [])


def test_a_demo_whose_worker_dies_says_so_and_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with started("demo", "--leads", "40", temp=tmp_path) as demo:
        assert demo.stderr is not None
        wait_until(lambda: "polls" in str(demo.stderr and demo.stderr.readline()))
        os.kill(find_child(demo.pid, "celery_app worker"), signal.SIGKILL)
        _, errors = demo.communicate(timeout=PATIENCE_SECONDS)
        assert demo.returncode == 6
        assert "worker died" in errors
        assert "killed by SIGKILL" in errors
    wait_until(lambda: processes_of(tmp_path) == [])


def test_up_resolves_leads_restarts_what_dies_and_keeps_its_data(tmp_path: Path) -> None:
    with running_sandbox(SandboxSettings()) as box:
        settings = {
            "LEADBYTE_ACCOUNT": "sandbox",
            "LEADBYTE_API_KEY": "sandbox-key",
            "LEADBYTE_BASE_URL": box.base_url,
            "LEAD_RESOLVER_DATA": str(tmp_path / "data"),
        }
        with started("up", temp=tmp_path, **settings) as product:
            wait_until((tmp_path / "data" / "environment").exists)
            wait_until(lambda: find_child(product.pid, "celery_app worker") != 0)
            os.kill(find_child(product.pid, "celery_app worker"), signal.SIGKILL)
            urls = read_environment(tmp_path / "data" / "environment")
            ask("track", "sandbox-approved-0001", **settings, **urls)
            with psycopg.connect(urls["DATABASE_URL"], autocommit=True) as connection:
                wait_until(
                    lambda: connection.execute("select state from reporting.leads").fetchall() == [("approved",)]
                )
            product.send_signal(signal.SIGTERM)
            assert product.wait(timeout=PATIENCE_SECONDS) == 130
        wait_until(lambda: processes_of(tmp_path) == [])
        with started("up", temp=tmp_path, **settings) as product:
            wait_until(lambda: "running" in str(product.stdout and product.stdout.readline()))
            urls = read_environment(tmp_path / "data" / "environment")
            assert json.loads(ask("show", "sandbox-approved-0001", "--json", **urls))["state"] == "approved"
            product.send_signal(signal.SIGINT)
            assert product.wait(timeout=PATIENCE_SECONDS) == 130


def test_up_without_an_account_is_one_clear_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "up"],
        env={**os.environ, "LEAD_RESOLVER_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("lead-resolver: LEADBYTE_ACCOUNT is not set")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def read_report(demo: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = demo.communicate(timeout=PATIENCE_SECONDS)
    assert demo.returncode == 0, errors
    report: dict[str, Any] = json.loads(output)
    return report


def check_report(report: dict[str, Any]) -> None:
    """Every lead and every effect agrees; held leads were completed, released and rejected, and returns found."""
    agreement = report["agreement"]
    assert (agreement["leads"], agreement["agreeing"], agreement["differences"]) == (40, 40, {})
    assert agreement["wrong_effects"] == []
    assert sum(report["states"].values()) == 40
    assert set(report["states"]) <= {"approved", "rejected", "returned", "quarantined"}
    counts = {row["action"]: row["count"] for row in report["actions"]}
    assert {row["state"] for row in report["actions"]} == {"confirmed"}
    assert {"update and release", "reject"} <= set(counts)
    # One that completes and releases in one has two effects.
    assert agreement["effects"] == sum(counts.values()) + counts["update and release"]


def ask(*arguments: str, **settings: str) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments], env={**os.environ, **settings}, capture_output=True, text=True, check=True
    )
    return done.stdout


def find_child(parent: int, words: str) -> int:
    """The first child of the process whose command line has the words; 0 if there is none."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if words in Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode():
            return int(child)
    return 0


def read_environment(path: Path) -> dict[str, str]:
    words = shlex.split(path.read_text())
    return dict(word.split("=", 1) for word in words if word != "export")
