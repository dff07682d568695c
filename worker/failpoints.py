"""Named places at which tests make a process fail; none of them does anything unless LEAD_RESOLVER_FAILPOINTS says so.

`poll.before_settle=kill@QUEUEID,persist.before_commit=raise` arms two places, the first for one lead alone. Called by
`worker.polling`, `worker.settling_thread` and `worker.results`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import NoReturn

VARIABLE = "LEAD_RESOLVER_FAILPOINTS"


def reach(name: str, queue_ids: Iterable[str] = ()) -> None:
    """Fail here if this place is armed, and armed for every lead or for one of these."""
    armed = _ARMED.get(name)
    if armed is None:
        return
    action, only = armed
    if only is None or only in queue_ids:
        # By hand, not by the log: its handler may not get to write before the process is gone.
        os.write(sys.stderr.fileno(), f"failpoint reached: {name}\n".encode())
        action()


def read_failpoints(text: str) -> dict[str, tuple[Callable[[], None], str | None]]:
    """The armed places by name; ValueError names an action there is none of."""
    armed = {}
    for entry in filter(None, text.split(",")):
        name, _, what = entry.partition("=")
        action, _, only = what.partition("@")
        if action not in _ACTIONS:
            raise ValueError(f"{VARIABLE}: {name} can't {action!r}; known are {', '.join(_ACTIONS)}")
        armed[name] = (_ACTIONS[action], only or None)
    return armed


def _raise() -> NoReturn:
    raise RuntimeError("failpoint")


def _hang() -> None:
    threading.Event().wait()


def _exit() -> NoReturn:
    os._exit(70)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_ACTIONS: dict[str, Callable[[], None]] = {"raise": _raise, "hang": _hang, "exit": _exit, "kill": _kill}
_ARMED = read_failpoints(os.environ.get(VARIABLE, ""))
