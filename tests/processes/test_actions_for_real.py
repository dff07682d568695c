"""Actions through real processes: sent by a worker, at most once though it dies in between, and followed to the end."""

from __future__ import annotations

import pytest

from tests.processes.invariants import check_invariants
from tests.processes.stage import ACCOUNT, LEAD_DATA, Stage
from worker.quarantine import request_actions

pytestmark = pytest.mark.processes

COMPLETED, RELEASED, REJECTED, AGAIN = (
    "sandbox-quarantined-0001",
    "sandbox-quarantined-0002",
    "sandbox-heldunsold-0001",
    "sandbox-requarantined-0001",
)


def _hold(stage: Stage) -> None:
    """A worker and a beat, and every lead known to be held."""
    stage.settings |= {"LEAD_RESOLVER_ACTION_SETTLE_SECONDS": "1"}
    stage.start_beat()
    stage.track([COMPLETED, RELEASED, REJECTED, AGAIN])
    stage.wait_until(lambda: _count(stage, "reporting.leads", "quarantine_id is not null") == 4, "all are held")


def _count(stage: Stage, view: str, condition: str) -> int:
    (row,) = stage.query(f"select count(*) as n from {view} where {condition}")
    return int(row["n"])


def _ask(stage: Stage, action: str, *queue_ids: str, **more: object) -> None:
    done = request_actions(stage.engine, ACCOUNT, action, queue_ids, requested_by="kim", **more)  # type: ignore[arg-type]
    assert [one.outcome for one in done] == ["requested"] * len(queue_ids)


def _wait_until_confirmed(stage: Stage, count: int) -> None:
    stage.wait_until(
        lambda: _count(stage, "reporting.quarantine", "action_state = 'confirmed'") == count, f"{count} are confirmed"
    )


def test_held_leads_are_completed_released_and_rejected_and_released_again(stage: Stage) -> None:
    stage.start_worker()
    stage.wait_until_ready("worker")
    _hold(stage)
    check_invariants(stage)
    _ask(stage, "release", COMPLETED, fields={"phone1": LEAD_DATA["phone1"]}, reason="completed")
    _ask(stage, "release", RELEASED, AGAIN)
    _ask(stage, "reject", REJECTED)
    _wait_until_confirmed(stage, 4)
    held_again = f"queue_id = '{AGAIN}' and cycle = 2 and action_id is null"
    stage.wait_until(lambda: _count(stage, "reporting.quarantine", held_again) == 1, "one is held again")
    _ask(stage, "release", AGAIN)
    _wait_until_confirmed(stage, 5)
    stage.wait_until_resolved([COMPLETED, RELEASED, REJECTED, AGAIN])
    check_invariants(stage)
    assert len(stage.sandbox.actions()) == 6


def test_a_worker_killed_after_its_request_has_it_neither_lost_nor_sent_twice(stage: Stage) -> None:
    stage.start_worker("first", failpoints="quarantine.after_request=kill")
    stage.wait_until_ready("first")
    _hold(stage)
    _ask(stage, "release", COMPLETED, RELEASED)
    stage.wait_until(lambda: "failpoint reached" in stage.read_log("first"), "it died with the answer in its hand")
    stage.start_worker("second")
    stage.wait_until_ready("second")
    stage.wait_until_quiet()
    stage.execute("update resolver.actions set next_try_at = clock_timestamp() where state = 'sent'")
    _wait_until_confirmed(stage, 2)
    stage.wait_until_resolved([COMPLETED, RELEASED])
    check_invariants(stage)
    assert [effect["action"] for effect in stage.sandbox.actions()] == ["process", "process"]
