"""Facts about the launcher, with real children; only the clock of the restarts is ours."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker.errors import LocalServerError
from worker.local.proc import list_processes
from worker.local.processes import ChildSpec, Launcher, LauncherEvent, restart_delay_seconds
from worker.local.signals import StopRequested, stop_on_signals, undisturbed


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def events() -> list[LauncherEvent]:
    return []


@pytest.fixture
def launcher(tmp_path: Path, clock: Clock, events: list[LauncherEvent]) -> Iterator[Launcher]:
    with Launcher(tmp_path / "logs", on_event=events.append, grace_seconds=60, clock=clock) as running:
        yield running


def python(name: str, code: str, *, restart: bool = False, ready: Callable[[], bool] | None = None) -> ChildSpec:
    return ChildSpec(name, (sys.executable, "-c", code), {"WORD": "ours"}, ready, restart)


def wait_for_death(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def is_running(pid: int) -> bool:
    return pid in {entry.pid for entry in list_processes()}


def test_a_dead_child_is_named_with_its_status_and_the_end_of_its_log(launcher: Launcher) -> None:
    launcher.start(python("beat", "for n in range(40): print('line', n)\nraise SystemExit(3)"))
    wait_for_death(launcher.children["beat"])
    with pytest.raises(LocalServerError, match=r"beat died \(exit status 3\).*beat\.log") as caught:
        launcher.check()
    assert "line 39" in str(caught.value)
    assert "line 20" not in str(caught.value)
    launcher.check()
    assert launcher.children == {}


def test_a_killed_child_is_named_with_its_signal(launcher: Launcher) -> None:
    launcher.start(python("flower", "input()\nwhile True: pass"))
    os.kill(launcher.children["flower"], signal.SIGKILL)
    wait_for_death(launcher.children["flower"])
    with pytest.raises(LocalServerError, match=r"flower died \((killed by SIGKILL|exit status 1)\)"):
        launcher.check()


def test_a_program_that_is_not_there_is_told_in_words(launcher: Launcher) -> None:
    launcher.start(ChildSpec("worker", ("/no/such/program",), {}))
    wait_for_death(launcher.children["worker"])
    with pytest.raises(LocalServerError, match=r"worker died \(exit status 126\)(.|\n)*/no/such/program"):
        launcher.check()


def test_a_child_gets_exactly_its_environment_and_a_private_log(launcher: Launcher, tmp_path: Path) -> None:
    launcher.start(python("worker", "import os; print(os.environ.get('WORD'), 'HOME' in os.environ)"))
    wait_for_death(launcher.children["worker"])
    log = tmp_path / "logs" / "worker.log"
    assert log.read_text() == "ours False\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_dead_child_is_restarted_when_its_delay_is_over(
    launcher: Launcher, clock: Clock, events: list[LauncherEvent]
) -> None:
    launcher.start(python("worker", "raise SystemExit(7)", restart=True))
    for deaths, delay in enumerate([0.5, 1.0, 2.0], 1):
        wait_for_death(launcher.children["worker"])
        launcher.check()
        assert events[-1].detail == f"exit status 7; starting it again in {delay:g} s"
        clock.now += delay - 0.1
        launcher.check()
        assert launcher.children == {}
        clock.now += 0.1
        launcher.check()
        assert events[-1].detail == f"again after {deaths} deaths in a row"
    assert [event.kind for event in events] == ["started", *["died", "started"] * 3]


def test_a_child_that_lived_long_is_forgiven_its_earlier_deaths(
    launcher: Launcher, clock: Clock, events: list[LauncherEvent]
) -> None:
    launcher.start(python("worker", "pass", restart=True))
    for lived in (0.0, 0.0, 61.0):
        wait_for_death(launcher.children["worker"])
        clock.now += lived
        launcher.check()
        clock.now += 10
        launcher.check()
    delays = [event.detail.rsplit(" in ")[-1] for event in events if event.kind == "died"]
    assert delays == ["0.5 s", "1 s", "0.5 s"]


def test_restart_delays_grow_to_a_bound_for_ever() -> None:
    assert [restart_delay_seconds(deaths) for deaths in (1, 2, 3, 6, 7, 10**9)] == [0.5, 1, 2, 16, 30, 30]


def test_start_returns_when_the_child_is_ready(launcher: Launcher, tmp_path: Path, events: list[LauncherEvent]) -> None:
    flag = tmp_path / "flag"
    code = f"import time; open({str(flag)!r}, 'w').close(); time.sleep(60)"
    launcher.start(python("worker", code, ready=flag.exists))
    assert [event.kind for event in events] == ["started", "ready"]


def test_a_child_that_dies_before_it_is_ready_is_told_at_once(launcher: Launcher) -> None:
    with pytest.raises(LocalServerError, match=r"worker died \(exit status 1\)(.|\n)*early bird"):
        launcher.start(python("worker", "raise SystemExit('early bird')", ready=lambda: False))


def test_a_name_is_given_once(launcher: Launcher) -> None:
    launcher.start(python("worker", "input()"))
    with pytest.raises(LocalServerError, match="worker was started already"):
        launcher.start(python("worker", "input()"))


def test_stop_ends_the_last_started_first_and_lets_them_finish(
    launcher: Launcher, tmp_path: Path, events: list[LauncherEvent]
) -> None:
    flags = {name: tmp_path / name for name in ("first", "second")}
    for name, flag in flags.items():
        launcher.start(python(name, FINISHES.format(flag=str(flag)), ready=flag.exists))
    launcher.stop()
    assert [(event.kind, event.child, event.detail) for event in events[-2:]] == [
        ("stopped", "second", "exit status 4"),
        ("stopped", "first", "exit status 4"),
    ]
    launcher.stop()


FINISHES = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: exit(4))
open({flag!r}, 'w').close()
time.sleep(60)
"""

STUBBORN_WITH_A_CHILD = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
open({flag!r} + '.new', 'w').write(str(child.pid))
os.rename({flag!r} + '.new', {flag!r})
time.sleep(60)
"""


def test_a_stubborn_child_is_killed_with_its_whole_group(tmp_path: Path, events: list[LauncherEvent]) -> None:
    flag = tmp_path / "flag"
    with Launcher(tmp_path / "logs", on_event=events.append, grace_seconds=0.2) as launcher:
        launcher.start(python("worker", STUBBORN_WITH_A_CHILD.format(flag=str(flag)), ready=flag.exists))
        pids = [launcher.children["worker"], int(flag.read_text())]
    assert events[-1].kind == "killed"
    assert not any(map(is_running, pids))


def test_what_a_dead_leader_leaves_is_killed_before_its_restart(launcher: Launcher, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    code = STUBBORN_WITH_A_CHILD.format(flag=str(flag))
    launcher.start(python("worker", code, ready=flag.exists, restart=True))
    os.kill(launcher.children["worker"], signal.SIGKILL)
    wait_for_death(launcher.children["worker"])
    launcher.check()
    assert not is_running(int(flag.read_text()))


def test_children_end_even_when_nobody_can_be_told(tmp_path: Path) -> None:
    def fail(event: LauncherEvent) -> None:
        if event.kind != "started":
            raise BrokenPipeError

    launcher = Launcher(tmp_path / "logs", on_event=fail, grace_seconds=60)
    launcher.start(python("worker", "input()"))
    pid = launcher.children["worker"]
    with pytest.raises(BrokenPipeError):
        launcher.stop()
    assert not is_running(pid)


def test_a_child_outlives_the_thread_that_started_it(launcher: Launcher) -> None:
    starter = threading.Thread(target=launcher.start, args=[python("worker", "import time; time.sleep(60)")])
    starter.start()
    starter.join()
    time.sleep(0.2)  # the kernel would tell it at once
    launcher.check()
    assert is_running(launcher.children["worker"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_stopping_signal_is_raised_once_and_later_ones_are_ignored(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(StopRequested) as caught, stop_on_signals():  # noqa: PT012 -- the clean-up is the fact
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)
            cleaned_up = True
    assert caught.value.signal_number == number
    assert cleaned_up
    assert signal.getsignal(number) == before


class _Interrupted:
    """A signal comes while Python runs a destructor, which swallows what is raised in it."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        signal.raise_signal(self._number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_python_swallows_in_a_destructor_comes_anew(number: signal.Signals) -> None:
    before = sys.unraisablehook
    with pytest.raises(StopRequested) as caught, stop_on_signals():  # noqa: PT012 -- the wait is the fact
        _Interrupted(number)  # nothing holds it
        threading.Event().wait(60)
    assert caught.value.signal_number == number
    assert sys.unraisablehook is before


def test_a_second_signal_does_not_lose_the_one_that_comes_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Timer.start

    def interrupt(timer: threading.Timer) -> None:
        signal.raise_signal(signal.SIGINT)
        start(timer)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(threading.Timer, "start", interrupt)
    with pytest.raises(StopRequested) as caught, stop_on_signals():  # noqa: PT012 -- the wait is the fact
        _Interrupted(signal.SIGTERM)
        threading.Event().wait(60)
    assert caught.value.signal_number == signal.SIGTERM


def test_without_a_thread_to_repeat_a_signal_the_next_one_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", refuse)
    with pytest.raises(StopRequested) as caught, stop_on_signals():  # noqa: PT012 -- the wait is the fact
        _Interrupted(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
    assert caught.value.signal_number == signal.SIGHUP


def test_no_signal_comes_anew_once_the_program_is_done() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with stop_on_signals():
            _Interrupted(signal.SIGTERM)
        assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == []


def test_other_errors_that_python_swallows_are_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    class Broken:
        def __del__(self) -> None:
            raise LookupError

    monkeypatch.setattr(sys, "unraisablehook", lambda swallowed: told.append(swallowed.exc_type))
    with stop_on_signals():
        Broken()
    assert told == [LookupError]


def test_a_signal_during_a_clean_up_is_heeded_after_it() -> None:
    finished = False
    with pytest.raises(StopRequested), stop_on_signals(), undisturbed():  # noqa: PT012 -- as above
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)
        finished = True
    assert finished
