"""The clock for what must not be late."""

from __future__ import annotations

import time

import pytest

from worker.clock import read_sleepless


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="of Linux alone")
def test_it_counts_the_time_that_the_machine_slept() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= read_sleepless() <= time.clock_gettime(time.CLOCK_BOOTTIME)
