"""What if the launcher itself is killed? `guard.py GRACE_SECONDS`, a script beside it, ends what it leaves.

Its input is the launcher's: `+GROUP` when a child started, `-GROUP` when it ended; the end of the input is
the end of the launcher, whatever the cause. Neighbours: exec_child, by which each child hears of that death.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import BinaryIO


def main() -> None:
    """Wait for the launcher's end, then for that of its children, then kill what is left."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    end_groups(read_left_groups(sys.stdin.buffer), grace_seconds=float(sys.argv[1]))


def read_left_groups(lines: BinaryIO) -> set[int]:
    """The groups that were started and did not end by the time the input ends."""
    groups: set[int] = set()
    for line in lines:
        change = groups.add if line.startswith(b"+") else groups.discard
        change(int(line[1:]))
    return groups


def end_groups(groups: set[int], grace_seconds: float) -> None:
    """Give the groups, whose leaders have been asked to end, their grace; SIGKILL what is left."""
    if sys.platform != "linux":  # where the kernel does not ask them
        _signal_each(groups, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while (groups := _signal_each(groups, 0)) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal_each(groups, signal.SIGKILL)


def _signal_each(groups: set[int], number: int) -> set[int]:
    reached = set()
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
            reached.add(group)
    return reached


if __name__ == "__main__":
    main()
