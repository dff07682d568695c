"""What do Ctrl-C, SIGTERM and SIGHUP do to a program that has children to end?"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

# SIGINT is restored last: its usual handler raises, and nothing may be left to restore after that.
_STOPPING_SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)

_AGAIN_SECONDS = 0.02  # a destructor is over long before


class StopRequested(KeyboardInterrupt):
    """Somebody asked this program to end; `signal_number` says how."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


@dataclass
class _Requests:
    """Handlers are one per process, and so is this."""

    accepts: bool = False
    undisturbed_depth: int = 0
    postponed: int | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if not self.accepts:
            return
        if self.undisturbed_depth:
            self.postponed = number
            return
        self.accepts = False
        raise StopRequested(number)

    def repeat(self, number: int) -> None:
        if self.accepts:
            os.kill(os.getpid(), number)


_requests = _Requests()


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into StopRequested in the main thread; ignore further ones.

    Ignoring them is safe because everything that stops has a bound. Enter it before what must be cleaned up.
    """
    previous = {number: signal.getsignal(number) for number in _STOPPING_SIGNALS}
    if previous[signal.SIGHUP] is signal.SIG_IGN:
        del previous[signal.SIGHUP]  # started with nohup: whoever did so wants us to outlive the terminal
    _requests.accepts, _requests.postponed = True, None
    try:
        for number in previous:
            signal.signal(number, _requests.handle)
        with _swallowed_signals_sent_again():
            yield
    finally:
        _requests.accepts = False
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _swallowed_signals_sent_again() -> Iterator[None]:
    """Python swallows what is raised in a destructor or a weak reference's callback: such a signal comes anew, later.

    From a thread, because this hook is called where an exception would still be swallowed.
    """
    previous = sys.unraisablehook

    def hook(swallowed: sys.UnraisableHookArgs) -> None:
        if not isinstance(swallowed.exc_value, StopRequested):
            previous(swallowed)
            return
        _requests.accepts = True
        timer = threading.Timer(_AGAIN_SECONDS, _requests.repeat, [swallowed.exc_value.signal_number])
        timer.daemon = True
        timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = previous


@contextmanager
def undisturbed() -> Iterator[None]:
    """Under `stop_on_signals`, let no signal interrupt the block: one that came is heeded at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread
        return
    _requests.undisturbed_depth += 1
    try:
        yield
    finally:
        _requests.undisturbed_depth -= 1
        if _requests.postponed is not None:
            _requests.handle(_requests.postponed, None)
