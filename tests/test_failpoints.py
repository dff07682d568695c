"""Failpoints do nothing unless they are armed, and then only where and for whom."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from worker.failpoints import VARIABLE, reach, read_failpoints

PROGRAM = "from worker.failpoints import reach; reach('here', ['LEAD']); print('went on')"


def _run(armed: str) -> subprocess.CompletedProcess[str]:
    environment = {VARIABLE: armed}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_nothing_is_armed_by_default() -> None:
    assert read_failpoints("") == {}
    reach("poll.before_settle", ["LEAD"])


@pytest.mark.parametrize("armed", ["", "elsewhere=kill", "here=kill@OTHER"])
def test_a_place_that_is_not_armed_is_passed(armed: str) -> None:
    assert _run(armed).stdout == "went on\n"


@pytest.mark.parametrize(
    ("armed", "status"), [("here=kill", -signal.SIGKILL), ("here=exit@LEAD", 70), ("elsewhere=kill,here=raise", 1)]
)
def test_an_armed_place_ends_the_process(armed: str, status: int) -> None:
    ended = _run(armed)
    assert ended.returncode == status
    assert ended.stderr.startswith("failpoint reached: here\n")
    assert ended.stdout == ""


def test_an_action_there_is_none_of_is_refused() -> None:
    with pytest.raises(ValueError, match="here can't 'explode'"):
        read_failpoints("here=explode")


def test_a_hanging_place_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[bool] = []
    monkeypatch.setattr(threading.Event, "wait", lambda _self: waited.append(True))
    action, _ = read_failpoints("here=hang")["here"]
    action()
    assert waited == [True]
