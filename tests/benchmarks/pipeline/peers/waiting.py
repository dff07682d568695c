"""How a child of the benchmark says that it is ready, and waits for the word: signal SIGUSR1."""

from __future__ import annotations

import signal

READY = "ready for leads"
WORD = signal.SIGUSR1


def hold_back() -> None:
    """Keep the word for `wait_for_word`, should it come early; to be called before anything else."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {WORD})


def wait_for_word() -> None:
    """Say that all is ready, and sleep until the word comes."""
    print(READY, flush=True)  # noqa: T201 - the benchmark reads it in the log
    signal.sigwait({WORD})
