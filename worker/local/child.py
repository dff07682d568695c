"""How is one child process started, ended and described? Neighbours: exec_child (what runs first in it)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from worker.errors import LocalServerError
from worker.local.folder import open_log
from worker.local.proc import list_processes

_EXEC_CHILD = Path(__file__).with_name("exec_child.py")
_AFTER_KILL_SECONDS = 5.0


def start_child(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    death_signal: signal.Signals,
    cwd: Path | None = None,
    identity: str = "same",
) -> subprocess.Popen[bytes]:
    """Start `argv` in its own session, its output appended to `log`; it gets `death_signal` when we die."""
    begin = [sys.executable, "-I", "-S", str(_EXEC_CHILD), str(os.getpid()), str(int(death_signal)), identity]
    log_descriptor = open_log(log)

    def spawn() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 -- our callers' words, and no shell
            [*begin, *argv],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log_descriptor,
            stderr=log_descriptor,
            start_new_session=True,
        )

    try:
        # The kernel takes the death of the *thread* that forked for the parent's: fork in one that lasts.
        if threading.current_thread() is threading.main_thread():
            return spawn()
        return _lasting_thread().submit(spawn).result()
    except OSError as error:
        raise LocalServerError(f"cannot start {sys.executable}: {error.strerror}") from error
    finally:
        os.close(log_descriptor)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL `process` and its process group; returns when it is reaped and (within a bound) they are gone."""
    if process.returncode is None:
        # While the leader is unreaped nobody else can have its number.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + _AFTER_KILL_SECONDS
    while any(entry.group == process.pid for entry in list_processes()) and time.monotonic() < deadline:
        time.sleep(0.01)


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it ended; leaves it unreaped, so that its number still names its group."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except (AttributeError, ChildProcessError):  # macOS before Python 3.13; whoever started us ignores SIGCHLD
        return process.poll() is not None


def wait_until_ended(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> bool:
    """Wait until all have ended, at most `seconds`; whether they have."""
    deadline = time.monotonic() + seconds
    while not all(map(has_ended, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def describe_end(returncode: int) -> str:
    """`exit status 3` or `killed by SIGKILL`."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"


def read_log_end(log: Path, lines: int = 15) -> str:
    """The last `lines` of `log`, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            end = file.read().decode("utf-8", "replace").splitlines()[-lines:]
    except OSError:
        end = []
    return "\n".join(end) or "(its log is empty)"


@cache
def _lasting_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="child-starter")
