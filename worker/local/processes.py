"""Who watches the children of `demo` and `up`? The launcher: starts them, restarts them, ends them all.

Neighbours: child (one process), guard (what happens when the launcher is killed), signals (Ctrl-C).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from worker.errors import LocalServerError
from worker.local.child import (
    describe_end,
    has_ended,
    kill_group,
    read_log_end,
    start_child,
    wait_until_ended,
)
from worker.local.signals import undisturbed

_GUARD = Path(__file__).with_name("guard.py")
_READY_SECONDS = 60.0
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.5, 30.0
_STEADY_SECONDS = 60.0  # a child that lived so long has recovered: its earlier deaths no longer count


@dataclass(frozen=True)
class ChildSpec:
    """A child to run: `env` is its whole environment, `ready` is asked until it says yes."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Callable[[], bool] | None = None
    restart: bool = False


EventKind = Literal["started", "ready", "died", "stopped", "killed"]


@dataclass(frozen=True)
class LauncherEvent:
    """Something that happened to a child; `detail` is text for a person."""

    kind: EventKind
    child: str
    pid: int
    detail: str = ""


@dataclass
class _Child:
    spec: ChildSpec
    log: Path
    process: subprocess.Popen[bytes]
    started_at: float
    deaths: int = 0
    restart_at: float | None = None


def restart_delay_seconds(deaths: int) -> float:
    """How long to wait before the restart after so many deaths in a row: 0.5, 1, 2 … 30."""
    # The exponent is capped for the sake of a child that keeps dying for days.
    return min(_FIRST_DELAY_SECONDS * 2.0 ** min(deaths - 1, 16), _LONGEST_DELAY_SECONDS)


def _error_of(child: _Child, what: str) -> LocalServerError:
    return LocalServerError(f"{child.spec.name} {what}; the end of {child.log}:\n{read_log_end(child.log)}")


class Launcher:
    """Starts children in their own sessions, each with its own log file in `log_folder`; ends them all."""

    def __init__(
        self,
        log_folder: Path,
        *,
        on_event: Callable[[LauncherEvent], None],
        grace_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log_folder = log_folder.absolute()
        self._on_event = on_event
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._children: dict[str, _Child] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def children(self) -> dict[str, int]:
        """Process numbers by name, of those that run as far as the last check saw."""
        return {name: child.process.pid for name, child in self._children.items() if child.restart_at is None}

    def start(self, spec: ChildSpec) -> None:
        """Start a child and return when it is ready, watching the others meanwhile.

        Raises:
            LocalServerError: it died or did not become ready; or another died.
        """
        if spec.name in self._children:
            raise LocalServerError(f"{spec.name} was started already")
        self._log_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._start_guard()
        with undisturbed():
            log = self._log_folder / f"{spec.name}.log"
            child = _Child(spec, log, self._spawn(spec, log), self._clock())
            self._children[spec.name] = child
        self._tell("started", child)
        if spec.ready is not None:
            self._wait_until_ready(child, spec.ready)

    def check(self) -> None:
        """Restart the dead that are to be restarted and whose delay is over; to be called often.

        Raises:
            LocalServerError: a child that is not to be restarted died; its name, how, the end of its log.
        """
        for child in self._children.values():
            if child.restart_at is not None:
                if self._clock() >= child.restart_at:
                    self._restart(child)
            elif has_ended(child.process):
                self._bury(child)

    def stop(self) -> None:
        """SIGTERM to all, last started first; SIGKILL to what is left of their groups after the grace."""
        with undisturbed():
            # Those that wait for a restart have been buried.
            ending = [child for child in self._children.values() if child.restart_at is None][::-1]
            for child in ending:
                if not has_ended(child.process):
                    child.process.send_signal(signal.SIGTERM)
            wait_until_ended([child.process for child in ending], self._grace_seconds)
            forced = {child.spec.name for child in ending if not has_ended(child.process)}
            for child in ending:
                self._end_group(child)
            self._children.clear()
            self._end_guard()
        # Only now, when nothing can be left behind: whoever listens may fail.
        for child in ending:
            kind: EventKind = "killed" if child.spec.name in forced else "stopped"
            self._tell(kind, child, describe_end(child.process.returncode))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self, spec: ChildSpec, log: Path) -> subprocess.Popen[bytes]:
        process = start_child(spec.argv, env=spec.env, log=log, death_signal=signal.SIGTERM)
        self._tell_guard(f"+{process.pid}")
        return process

    def _restart(self, child: _Child) -> None:
        with undisturbed():
            child.process = self._spawn(child.spec, child.log)
            child.started_at, child.restart_at = self._clock(), None
        self._tell("started", child, f"again after {child.deaths} deaths in a row")

    def _bury(self, child: _Child) -> None:
        with undisturbed():
            self._end_group(child)
            lived = self._clock() - child.started_at
            child.deaths = 1 if lived > _STEADY_SECONDS else child.deaths + 1
            delay = restart_delay_seconds(child.deaths)
            child.restart_at = self._clock() + delay
        end = describe_end(child.process.returncode)
        if not child.spec.restart:
            del self._children[child.spec.name]
            self._tell("died", child, end)
            raise _error_of(child, f"died ({end})")
        self._tell("died", child, f"{end}; starting it again in {delay:g} s")

    def _wait_until_ready(self, child: _Child, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise _error_of(child, f"was not ready within {_READY_SECONDS:.0f} s")
            time.sleep(0.05)
        self._tell("ready", child)

    def _end_group(self, child: _Child) -> None:
        kill_group(child.process)
        self._tell_guard(f"-{child.process.pid}")

    def _start_guard(self) -> None:
        if self._guard is None or self._guard.poll() is not None:
            with undisturbed():
                self._guard = subprocess.Popen(  # noqa: S603 -- words of ours
                    [sys.executable, "-I", "-S", str(_GUARD), str(self._grace_seconds)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            for pid in self.children.values():
                self._tell_guard(f"+{pid}")

    def _tell_guard(self, line: str) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        # A guard that somebody killed is missed only if we are killed, too.
        with suppress(BrokenPipeError):
            self._guard.stdin.write(f"{line}\n".encode())
            self._guard.stdin.flush()

    def _end_guard(self) -> None:
        if self._guard is not None:
            with suppress(BrokenPipeError):
                self._guard.communicate()
            self._guard = None

    def _tell(self, kind: EventKind, child: _Child, detail: str = "") -> None:
        self._on_event(LauncherEvent(kind, child.spec.name, child.process.pid, detail))
