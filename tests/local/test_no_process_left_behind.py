"""However a launching program ends, and whenever: nothing it started is left. Found by /proc, not by trust."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 120

# Two servers, a child that heeds nothing and has a child of its own, and a restarting one that keeps dying.
PROGRAM = """
import os, sys, time
from pathlib import Path
from worker.local.folder import claim_data_folder
from worker.local.postgres import EmbeddedPostgres
from worker.local.processes import ChildSpec, Launcher
from worker.local.redis import EmbeddedRedis
from worker.local.signals import StopRequested, stop_on_signals

STUBBORN = '''
import signal, subprocess, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
open(sys.argv[1], 'w').close()
time.sleep(600)
'''

folder = Path(sys.argv[1])
flag = folder / "stubborn"
try:
    with (
        stop_on_signals(),
        claim_data_folder(folder),
        EmbeddedRedis(folder),
        EmbeddedPostgres(folder, fast=True),
        Launcher(folder / "logs", on_event=lambda event: None, grace_seconds=0.5) as launcher,
    ):
        env = dict(os.environ)
        stubborn = (sys.executable, "-c", STUBBORN, str(flag))
        launcher.start(ChildSpec("stubborn", stubborn, env, ready=flag.exists))
        launcher.start(ChildSpec("dying", (sys.executable, "-c", "1/0"), env, restart=True))
        (folder / "up").touch()
        while True:
            launcher.check()
            time.sleep(0.05)
except StopRequested as request:
    print(request, file=sys.stderr)
    sys.exit(130)
"""

CELERY_PROGRAM = """
import os, sys, time
from pathlib import Path
from worker.local.processes import ChildSpec, Launcher
from worker.local.redis import EmbeddedRedis

folder = Path(sys.argv[1])
(folder / "application.py").write_text('''
import os, pathlib, celery
app = celery.Celery(broker=os.environ["BROKER"])
app.conf.worker_hijack_root_logger = False
@celery.signals.worker_ready.connect
def tell(**_):
    pathlib.Path("up").touch()
''')
with EmbeddedRedis(folder) as redis, Launcher(folder / "logs", on_event=print, grace_seconds=0.5) as launcher:
    os.chdir(folder)
    argv = (sys.executable, "-m", "celery", "-A", "application", "worker", "--concurrency=2")
    launcher.start(ChildSpec("worker", argv, {**os.environ, "BROKER": redis.url, "C_FORCE_ROOT": "1"}))
    while True:
        launcher.check()
        time.sleep(0.05)
"""


def list_processes_of(folder: Path) -> dict[int, str]:
    """Living processes that carry the folder in their environment or work in it, with their command lines."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            marked = str(folder).encode() in (process / "environ").read_bytes()
            if marked or (process / "cwd").readlink().is_relative_to(folder):
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
    found.pop(os.getpid(), None)
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < until, f"it did not come about within {PATIENCE_SECONDS} s"
        time.sleep(0.005)


@contextmanager
def launch(folder: Path, program: str = PROGRAM) -> Iterator[subprocess.Popen[str]]:
    launcher = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "STARTED_BY_TEST": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with launcher:
        try:
            yield launcher
        finally:
            launcher.kill()


def assert_nothing_is_left(folder: Path) -> None:
    with suppress(AssertionError):
        wait_until(lambda: not list_processes_of(folder))
    assert json.dumps(list_processes_of(folder), indent=1) == "{}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_in_order_and_a_second_one_does_not_disturb(
    tmp_path: Path, number: signal.Signals
) -> None:
    with launch(tmp_path) as launcher:
        wait_until((tmp_path / "up").exists)
        assert len(list_processes_of(tmp_path)) > 10
        for _ in range(3):
            launcher.send_signal(number)
            time.sleep(0.05)
        _, errors = launcher.communicate(timeout=PATIENCE_SECONDS)
    assert errors == f"stopped by {number.name}\n"
    assert launcher.returncode == 130
    assert list_processes_of(tmp_path) == {}
    assert "database system is shut down" in (tmp_path / "postgres" / "server.log").read_text()


def test_sigkill_of_the_launcher_leaves_nothing_and_the_next_start_works(tmp_path: Path) -> None:
    for _ in range(2):
        with launch(tmp_path) as launcher:
            wait_until((tmp_path / "up").exists)
            launcher.kill()
        # Straight on top of what is still going down.
        (tmp_path / "up").unlink()
    assert_nothing_is_left(tmp_path)


MOMENTS = ["redis/password", "redis/valkey.conf", "postgres/cluster.new-*", "postgres/cluster/postmaster.pid"]
MOMENTS += ["logs/stubborn.log", "stubborn"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_moment_of_the_start_is_interrupted_nothing_is_left(tmp_path: Path, number: signal.Signals) -> None:
    for place, moment in enumerate(MOMENTS):
        folder = tmp_path / str(place)
        with launch(folder) as launcher:
            wait_until(lambda: any(folder.glob(moment)))  # noqa: B023 -- called at once
            launcher.send_signal(number)
            _, errors = launcher.communicate(timeout=PATIENCE_SECONDS)
        assert errors == ("stopped by SIGTERM\n" if number == signal.SIGTERM else "")
        assert_nothing_is_left(folder)


def test_a_crash_of_a_server_or_child_does_not_keep_the_rest_alive(tmp_path: Path) -> None:
    with launch(tmp_path) as launcher:
        wait_until((tmp_path / "up").exists)
        stubborn = [pid for pid, line in list_processes_of(tmp_path).items() if line.endswith("/stubborn ")]
        os.kill(stubborn[0], signal.SIGKILL)
        _, errors = launcher.communicate(timeout=PATIENCE_SECONDS)
    assert "stubborn died (killed by SIGKILL)" in errors
    assert list_processes_of(tmp_path) == {}


def test_sigkill_of_the_launcher_ends_a_prefork_celery_worker_too(tmp_path: Path) -> None:
    with launch(tmp_path, CELERY_PROGRAM) as launcher:
        wait_until((tmp_path / "up").exists)
        assert sum("celery" in line for line in list_processes_of(tmp_path).values()) >= 3
        launcher.kill()
    assert_nothing_is_left(tmp_path)
