"""One command line, run in this process against the test's database."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.quarantine.conftest import make_stage, stage  # noqa: F401 - fixtures: held leads at a sandbox
from worker.cli import output
from worker.cli.app import run_command


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line on stderr, and nothing on stdout."""
        (line,) = self.err.splitlines()
        assert line.startswith("lead-resolver: ")
        assert self.out == ""
        return line


@pytest.fixture(autouse=True)
def wide_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are not broken, wherever the tests run."""
    monkeypatch.setattr(output.out, "width", 200)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`command("track", "ID")`, in whatever environment the test has set."""

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = run_command(arguments)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def cli(command: Callable[..., Said], database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """The same, with Postgres and one account configured."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("LEADBYTE_ACCOUNT", "acme")
    monkeypatch.setenv("LEADBYTE_API_KEY", "planted-key-9137")
    return command
