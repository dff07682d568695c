"""What does /proc say of the processes on this machine? Where there is no /proc (macOS): nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessEntry:
    """One living process; `name` is cut by the kernel after 15 characters."""

    pid: int
    name: str
    parent_pid: int
    group: int

    def works_in(self, folder: Path) -> bool:
        """Whether `folder` is its working folder."""
        try:
            return (_PROC / str(self.pid) / "cwd").samefile(folder)
        except OSError:
            return False


def list_processes() -> list[ProcessEntry]:
    """All living processes; the dead that nobody has reaped yet are not among them."""
    return list(_read_entries())


def _read_entries() -> Iterator[ProcessEntry]:
    for stat in _PROC.glob("[0-9]*/stat"):
        try:
            pid_and_name, _, rest = stat.read_text("utf-8", "replace").rpartition(")")
        except OSError:
            continue  # ended while we looked
        pid, _, name = pid_and_name.partition(" (")
        state, parent_pid, group = rest.split()[:3]
        if state not in "ZX":
            yield ProcessEntry(int(pid), name, int(parent_pid), int(group))
