"""What do Ctrl-C, SIGTERM and SIGHUP do to a program that has children to end?"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

# SIGINT is restored last: its usual handler raises, and nothing may be left to restore after that.
_STOPPING_SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)

_AGAIN_SECONDS = 0.02  # most destructors are over by then


class StopRequested(KeyboardInterrupt):
    """Somebody asked this program to end; `signal_number` says how."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


@dataclass
class _Requests:
    """Handlers are one per process, and so is this. `is_open`: within `stop_on_signals`, until it ends."""

    is_open: bool = False
    accepts: bool = False
    undisturbed_depth: int = 0
    postponed: int | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if not (self.is_open and self.accepts):
            return
        if self.undisturbed_depth:
            self.postponed = number
            return
        self.accepts = False
        raise StopRequested(number)

    def repeat(self, number: int) -> None:
        self.accepts = True
        signal.pthread_kill(threading.main_thread().ident or 0, number)


_requests = _Requests()


class _Repeater:
    """Python swallows what is raised in a destructor or a weak reference's callback: such a signal comes anew, later.

    From a thread, because this is called where an exception would still be swallowed. Until then no other is accepted,
    which would be swallowed here; where the repeated one is swallowed as well, this is called again.
    """

    def __init__(self) -> None:
        self._previous = sys.unraisablehook
        self._timers: list[threading.Timer] = []

    def take_swallowed(self, swallowed: sys.UnraisableHookArgs) -> None:
        """What `sys.unraisablehook` does."""
        if not isinstance(swallowed.exc_value, StopRequested):
            self._previous(swallowed)
            return
        timer = threading.Timer(_AGAIN_SECONDS, _requests.repeat, [swallowed.exc_value.signal_number])
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # no thread is to be had: the next signal will do
            _requests.accepts = True
        else:
            self._timers.append(timer)

    def close(self) -> None:
        """Nothing is repeated any more. To be called while signals still come to us, who are not open any more."""
        sys.unraisablehook = self._previous
        for timer in self._timers:
            timer.cancel()
            timer.join()


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into StopRequested in the main thread; ignore further ones.

    Ignoring them is safe because everything that stops has a bound. Enter it before what must be cleaned up.
    """
    previous = {number: signal.getsignal(number) for number in _STOPPING_SIGNALS}
    if previous[signal.SIGHUP] is signal.SIG_IGN:
        del previous[signal.SIGHUP]  # started with nohup: whoever did so wants us to outlive the terminal
    repeater = _Repeater()
    _requests.is_open, _requests.accepts, _requests.postponed = True, True, None
    try:
        sys.unraisablehook = repeater.take_swallowed
        for number in previous:
            signal.signal(number, _requests.handle)
        yield
    finally:
        _requests.is_open = False  # first: from here on nothing is raised, and the rest is done
        repeater.close()
        for number, handler in previous.items():
            signal.signal(number, handler)


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
