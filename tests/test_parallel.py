"""The suite run by several workers: none starts more, each is held to loopback, and few run processes at once."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pytest_socket import SocketConnectBlockedError

from tests import parallel

TESTS = Path(__file__).parent


def choose(monkeypatch: pytest.MonkeyPatch, *, worker: str | None = None, **options: Any) -> Any:
    """What becomes of the options of a run."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    if worker is not None:
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    usual = {
        "numprocesses": None,
        "dist": "no",
        "markexpr": "not soak",
        "keyword": "",
        "usepdb": False,
        "capture": "fd",
    }
    arguments = options.pop("args", ["tests"])
    config = SimpleNamespace(
        option=SimpleNamespace(**{**usual, **options}),
        args=arguments,
        pluginmanager=SimpleNamespace(hasplugin=lambda _name: True),
    )
    parallel.pytest_cmdline_main(cast("pytest.Config", config))
    return config.option.numprocesses


def test_a_run_of_folders_is_parallel_and_what_a_person_watches_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(monkeypatch) == parallel.WORKERS
    assert choose(monkeypatch, args=["tests/cli", "tests/store"]) == parallel.WORKERS
    watched: list[dict[str, Any]] = [
        {"args": ["tests/test_wire.py"]},
        {"args": ["tests/test_wire.py::test_x"]},
        {"keyword": "x"},
        {"usepdb": True},
        {"capture": "no"},
        {"markexpr": "soak"},
    ]
    assert [choose(monkeypatch, **options) for options in watched] == [0] * len(watched)


def test_what_was_asked_for_is_kept_and_a_worker_starts_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(monkeypatch, numprocesses=0) == 0
    assert choose(monkeypatch, numprocesses=7, dist="load") == 7
    assert choose(monkeypatch, worker="gw0") is None


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_only_this_machine_can_be_reached() -> None:
    with pytest.raises(SocketConnectBlockedError):
        socket.create_connection(("203.0.113.1", 9), timeout=0.1)


def test_every_file_that_starts_processes_is_known_to() -> None:
    files = [*(TESTS / "processes").glob("test_*.py"), TESTS / "local" / "test_demo.py"]
    assert [path.name for path in files if not parallel.is_marked(path)] == []
    assert not parallel.is_marked(TESTS / "test_wire.py")
