"""What is left of a server whose end we did not see, and how is Postgres killed so that nothing is?"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from worker.errors import LocalServerError
from worker.local.child import kill_group
from worker.local.proc import list_processes

_ORPHAN_SECONDS = 15.0


def wait_for_orphans(folder: Path, program: str) -> None:
    """Wait until no process of `program` works in `folder`: a launcher that was killed left it going down.

    The caller holds the folder, so whoever still works there is such an orphan.

    Raises:
        LocalServerError: it does not end.
    """
    if not _wait_until(lambda: not list_working(program, folder), _ORPHAN_SECONDS):
        pids = ", ".join(map(str, list_working(program, folder)))
        raise LocalServerError(f"another {program} (process {pids}) is working in {folder}: stop it first")


def kill_with_children(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL `process` and its children, each of which leads a group; returns when they are gone."""
    children = {entry.pid for entry in list_processes() if entry.parent_pid == process.pid}
    kill_group(process)
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    # A new server cannot attach the shared memory before the last old one has let it go.
    _wait_until(lambda: children.isdisjoint(entry.pid for entry in list_processes()), _ORPHAN_SECONDS)


def list_working(program: str, folder: Path) -> list[int]:
    """Process numbers of `program` with the working folder `folder`; a shell may stand there, too."""
    return [entry.pid for entry in list_processes() if entry.name.startswith(program) and entry.works_in(folder)]


def _wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    return True
