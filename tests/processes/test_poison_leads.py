"""A lead whose reply kills whoever handles it is parked after three times; its neighbours don't suffer."""

from __future__ import annotations

import os
import signal

import pytest

from tests.processes.invariants import check_invariants
from tests.processes.stage import ACCOUNT, Stage, is_alive
from worker import operations

pytestmark = pytest.mark.processes

POISON = "sandbox-approved-poison"
MOST = 3


def _count_deaths(stage: Stage, place: str) -> int:
    return stage.read_log("deadly").count(f"failpoint reached: {place}")


def _expire_lease_of(stage: Stage, queue_id: str) -> None:
    stage.execute(
        """
        with dead as (
            update resolver.watches set lease_until = clock_timestamp()
            where claim_id = (select claim_id from resolver.watches where queue_id = :queue_id)
            returning claim_id as id
        ), closed as (
            update resolver.claims set lease_until = clock_timestamp() where id in (select id from dead)
        )
        update resolver.ticks set at = at - interval '20 seconds' where duty = 'sweep'
        """,
        queue_id=queue_id,
    )


def test_a_lead_that_kills_whoever_polls_it_is_parked_and_can_be_redriven(stage: Stage) -> None:
    worker = stage.start_worker("deadly", failpoints=f"poll.before_settle=kill@{POISON}")
    stage.start_beat()
    stage.wait_until_ready("deadly")
    others = stage.submit(8)
    stage.track([POISON])
    for death in range(1, MOST + 1):
        stage.wait_until(lambda death=death: _count_deaths(stage, "poll.before_settle") == death, "it killed")  # type: ignore[misc]
        _expire_lease_of(stage, POISON)
    stage.wait_until(
        lambda: bool(stage.query("select from resolver.watches where next_poll_at is null")), "it is parked"
    )
    stage.wait_until_resolved(others)
    (parked,) = stage.query("select * from reporting.leads where queue_id = :id", id=POISON)
    assert parked["state"] == "queued"
    assert parked["state_reason"].startswith(f"parked: polling it was cut short {MOST} times")
    assert is_alive(worker)
    check_invariants(stage)
    assert _count_deaths(stage, "poll.before_settle") == MOST

    os.kill(worker, signal.SIGTERM)
    stage.start_worker("mended")
    assert operations.redrive(stage.engine, ACCOUNT, [POISON]) == 1
    stage.wait_until_resolved([POISON])
    check_invariants(stage)


def test_a_reply_that_kills_whoever_persists_it_is_parked(stage: Stage) -> None:
    worker = stage.start_worker("deadly", failpoints=f"persist.before_commit=kill@{POISON}")
    stage.start_beat()
    stage.wait_until_ready("deadly")
    stage.track([POISON])
    others = stage.submit(8)
    stage.wait_until_resolved(others)
    stage.wait_until(
        lambda: bool(stage.query("select from resolver.unpersisted where parked_because is not null")), "it is parked"
    )
    assert _count_deaths(stage, "persist.before_commit") == MOST
    assert is_alive(worker)
    (parked,) = stage.query("select * from reporting.leads where queue_id = :id", id=POISON)
    assert parked["state_reason"].startswith(f"parked: persisting a reply was cut short {MOST} times")
    check_invariants(stage)

    os.kill(worker, signal.SIGTERM)
    stage.start_worker("mended")
    assert operations.redrive(stage.engine, ACCOUNT, [POISON]) == 1
    stage.wait_until_resolved([POISON])
    check_invariants(stage)
