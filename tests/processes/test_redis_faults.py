"""Redis killed, emptied or frozen in the middle of a task: the workers stay, and every lead is resolved."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.processes.invariants import check_invariants
from tests.processes.stage import Stage, is_alive

pytestmark = pytest.mark.processes

FREEZE_SECONDS = 8  # longer than anybody's patience with a socket


def _kill_and_start_empty(stage: Stage) -> None:
    stage.redis.kill()
    stage.redis.wipe()
    stage.redis.start()


def _flush(stage: Stage) -> None:
    with stage.open_redis() as client:
        client.flushall()


def _freeze(stage: Stage) -> None:
    os.kill(stage.redis.pid, signal.SIGSTOP)
    try:
        time.sleep(FREEZE_SECONDS)
    finally:
        os.kill(stage.redis.pid, signal.SIGCONT)


@pytest.mark.parametrize("fault", [_kill_and_start_empty, _flush, _freeze])
def test_a_worker_survives_what_happens_to_redis_in_mid_task(stage: Stage, fault: Callable[[Stage], None]) -> None:
    before, after = stage.prepare(8), stage.prepare(8)
    stage.sandbox.script("@poll", "slow-wait1")
    worker, beat = stage.start_worker(), stage.start_beat()
    stage.wait_until_ready("worker")
    stage.track(before)
    stage.wait_until_in_mid_batch()
    fault(stage)
    stage.sandbox.clear_script()
    stage.track(after)
    stage.wait_until_resolved([*before, *after])
    assert is_alive(worker)
    assert is_alive(beat)
    check_invariants(stage)
