"""What this machine is, and what its processes use: CPU and memory of whole process trees, from /proc."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from worker.local.proc import list_processes

_PROC = Path("/proc")
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
# Of /proc/PID/stat after the name: utime, stime, and those of children that have ended and were waited for.
_CPU_FIELDS = slice(11, 15)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where figures come from; without it they say little."""

    cpu: str
    cores: int
    kernel: str
    python: str
    postgres: str


def describe_machine(database_url: str) -> Machine:
    """This machine, and the Postgres at that URL."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("show server_version").fetchone()
    assert row is not None
    kernel = f"{platform.system()} {platform.release()}"
    return Machine(_name_cpu(), os.cpu_count() or 1, kernel, platform.python_version(), str(row[0]))


def _name_cpu() -> str:
    try:
        lines = (_PROC / "cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def list_tree(roots: Iterable[int]) -> list[int]:
    """These processes and all that they have started and that still live."""
    children: dict[int, list[int]] = {}
    for entry in list_processes():
        children.setdefault(entry.parent_pid, []).append(entry.pid)
    found, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def read_cpu_seconds(roots: Iterable[int]) -> float:
    """CPU seconds that these trees have used so far, in user and system mode, the dead among them included."""
    return sum(_read_cpu_ticks(pid) for pid in list_tree(roots)) * _TICK_SECONDS


def _read_cpu_ticks(pid: int) -> int:
    try:
        stat = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return 0  # ended while we looked: its parent's children hold it now
    return sum(int(field) for field in stat.rpartition(")")[2].split()[_CPU_FIELDS])


def read_megabytes(roots: Iterable[int]) -> float:
    """Memory of these trees now; a page that processes share after a fork counts once, in parts (PSS)."""
    return sum(_read_kilobytes(pid) for pid in list_tree(roots)) / 1024


def read_own_megabytes() -> float:
    """Memory of this process alone, without those that it has started."""
    return _read_kilobytes(os.getpid()) / 1024


def _read_kilobytes(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
