"""The clock by which nothing that must not be late is done late: it goes on while the machine sleeps."""

from __future__ import annotations

import time

# Linux stops CLOCK_MONOTONIC while the machine is suspended; elsewhere it goes on, and there is no other.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def read_sleepless() -> float:
    """Seconds since some moment, those that the machine slept included."""
    return time.clock_gettime(_CLOCK)
