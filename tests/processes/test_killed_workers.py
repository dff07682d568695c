"""Workers that are killed, stopped or told to go in the middle of a batch: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import signal
from typing import Literal

import pytest

from tests.processes.invariants import check_invariants
from tests.processes.stage import Stage, group_is_alive, is_alive, list_children, signal_group

pytestmark = pytest.mark.processes

LEADS = 8
_ALL_FACTS = """
    select 'event' as what, to_jsonb(e) as row from resolver.lead_events e
    union all select 'lead', to_jsonb(l) from resolver.leads l
    union all select 'outcome', to_jsonb(o) from resolver.outcomes o
    union all select 'buyer', to_jsonb(b) from resolver.buyers b
    union all select 'delivery', to_jsonb(d) from resolver.deliveries d
    union all select 'reply', to_jsonb(r) from resolver.replies r
"""


def _start_slow_batch(stage: Stage) -> tuple[int, list[str]]:
    """A worker in the middle of a batch; its pid, and the leads."""
    stage.sandbox.script("@poll", "slow-wait1")
    worker = stage.start_worker("first")
    stage.start_beat()
    stage.wait_until_ready("first")
    queue_ids = stage.submit(LEADS)
    stage.wait_until_in_mid_batch()
    return worker, queue_ids


@pytest.mark.parametrize("victim", ["child", "parent"])
def test_a_worker_killed_in_mid_batch_loses_and_doubles_nothing(
    stage: Stage, victim: Literal["child", "parent"]
) -> None:
    worker, queue_ids = _start_slow_batch(stage)
    (child,) = list_children(worker)
    if victim == "child":
        os.kill(child, signal.SIGKILL)
        stage.wait_until(lambda: not is_alive(child), "the child is dead")
    else:
        os.kill(worker, signal.SIGKILL)
        # The kernel ends the child with it: Celery asks for that.
        stage.wait_until(lambda: not group_is_alive(worker), "nothing of the worker is left")
        stage.start_worker("second")
    stage.sandbox.clear_script()
    stage.wait_until_quiet()
    stage.expire_leases()
    stage.wait_until_resolved(queue_ids)
    assert sum(stage.sandbox.calls()["polls"].values()) > LEADS  # so it was in mid-batch indeed
    check_invariants(stage)


def test_a_worker_stopped_past_its_lease_finds_its_late_write_refused(stage: Stage) -> None:
    worker, queue_ids = _start_slow_batch(stage)
    signal_group(worker, signal.SIGSTOP)
    stage.sandbox.clear_script()
    stage.wait_until_quiet()
    stage.expire_leases()
    stage.start_worker("second")
    stage.wait_until_resolved(queue_ids)
    facts = stage.query(_ALL_FACTS)
    signal_group(worker, signal.SIGCONT)
    # In one go, or as the answers come.
    stage.wait_until(
        lambda: sum(late["lost"] for late in stage.read_events("first", "polls_settled")) == LEADS,
        "the late write was tried",
    )
    for late in stage.read_events("first", "polls_settled"):
        assert late["journalled"] == late["failed"] == late["abandoned"] == 0
    assert stage.query(_ALL_FACTS) == facts
    check_invariants(stage)


def test_a_worker_told_to_stop_finishes_its_batch_and_goes(stage: Stage) -> None:
    worker, queue_ids = _start_slow_batch(stage)
    os.kill(worker, signal.SIGTERM)
    stage.wait_until(lambda: not is_alive(worker), "the worker has gone")
    assert stage.query("select * from resolver.claims") == []
    rows = stage.query("select queue_id, polls, failures, state from reporting.leads")
    assert {(row["polls"], row["failures"]) for row in rows} == {(1, 0)}
    stage.sandbox.clear_script()
    stage.start_worker("second")
    stage.wait_until_resolved(queue_ids)
    asked = stage.sandbox.calls()["polls"]
    recorded = stage.query("select queue_id, polls from reporting.leads")
    assert {row["queue_id"]: row["polls"] for row in recorded} == asked
    check_invariants(stage)
