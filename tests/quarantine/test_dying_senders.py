"""Real workers that are killed and frozen while they act: each action once, none lost, no value left anywhere."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.leaks import find_leaks, read_files, read_redis
from tests.processes.stage import KEY, open_stage, signal_group
from tests.quarantine.chaos_plan import MARK
from tests.quarantine.held_stage import Sql
from tests.quarantine.live_stage import LiveStage
from worker.local.postgres import EmbeddedPostgres
from worker.local.redis import EmbeddedRedis

pytestmark = pytest.mark.processes

PLACES = ("after_claim", "after_request", "before_commit", "after_record")
FIELDS = f'{{"firstname": "{MARK} Person", "postcode": "{MARK}-77"}}'
# Right after it has been committed as sent, a request waits for its turn.
SLOW = {"LEADBYTE_REQUESTS_PER_SECOND": "0.3"}


@pytest.fixture
def live(tmp_path: Path, postgres: EmbeddedPostgres, database_url: str, sql: Sql) -> Iterator[LiveStage]:
    with EmbeddedRedis(tmp_path) as redis, open_stage(tmp_path, postgres, database_url, redis) as stage:
        stage.settings["LEAD_RESOLVER_ACTION_SETTLE_SECONDS"] = "1"
        # Half of it is for actions, and a dead sender keeps its permit for as long as its lease.
        stage.settings["LEADBYTE_CONCURRENCY"] = "16"
        yield LiveStage(stage, sql)


def test_workers_killed_at_every_place_act_once_and_lose_nothing(live: LiveStage) -> None:
    live.stage.start_beat()
    first = live.start("first")
    held = live.hold(12)
    live.kill(first)
    ids = list(held.values())
    armed = ",".join(f"quarantine.{place}=kill@{held_id}" for place, held_id in zip(PLACES, ids, strict=False))
    doomed = live.start("doomed", children=2, failpoints=armed)
    live.ask("release", list(held)[:8])
    live.ask("reject", list(held)[8:])
    live.stage.wait_until(lambda: set(live.count_deaths("doomed")) == set(PLACES), "a child died at every place")
    live.kill(doomed)
    live.bury_dead()
    live.start("heir")
    live.wait_until_concluded()
    assert not live.find_violations()
    assert {state for (state,) in live.sql("select state from resolver.actions")} == {"confirmed"}
    assert live.stage.sandbox.calls()["quarantine_requests"] == {
        held_id: {"process" if number < 8 else "reject": 1} for number, held_id in enumerate(ids)
    }


def test_values_pass_through_real_processes_and_stay_nowhere(live: LiveStage) -> None:
    live.stage.start_beat()
    live.start("first")
    held = live.hold(4)
    ids = list(held)
    live.stage.sandbox.script(held[ids[1]], "lostreply", 1)
    live.ask("update", ids[:1], FIELDS)
    live.ask("release", ids[1:2], FIELDS)
    live.wait_until_concluded()
    live.ask("release", ids[2:3], FIELDS.replace(MARK, f"INVALID {MARK}"))
    live.ask("release", ids[3:4], FIELDS)
    live.wait_until_concluded()
    assert not live.find_violations()
    with live.stage.open_redis() as client:
        texts = [*read_files(live.stage.folder), *read_redis(client)]
    texts.append(("Postgres' log", live.stage.postgres.log.read_text("utf-8", "replace")))
    assert not find_leaks(texts, [MARK, KEY])
    assert live.sql("select count(*) from resolver.action_fields") == [(0,)]
    assert not [row for row in live.sql("select message from resolver.actions") if MARK in row[0]]


def test_values_of_a_worker_killed_in_mid_request_are_gone_when_its_action_is_taken_back(live: LiveStage) -> None:
    live.stage.start_beat()
    first = live.start("first")
    ((queue_id, held_id),) = live.hold(1).items()
    live.kill(first)
    doomed = live.start("doomed", failpoints=f"quarantine.after_request=kill@{held_id}")
    live.ask("update", [queue_id], FIELDS)
    live.stage.wait_until(lambda: bool(live.count_deaths("doomed")), "the child died over its request")
    live.kill(doomed)
    assert live.sql("select state from resolver.actions") == [("sent",)]
    live.bury_dead()
    live.start("heir")
    live.wait_until_concluded()
    assert live.sql("select state from resolver.actions") == [("unsure",)]
    assert not live.find_violations()
    assert live.sql("select count(*) from resolver.action_fields") == [(0,)]


@pytest.mark.soak
def test_a_worker_frozen_between_commit_and_first_byte_never_sends_after_its_lease(live: LiveStage) -> None:
    live.stage.start_beat()
    live.start("early")
    held = live.hold(2)
    live.kill(live.started[0][1])
    ids = list(held)
    live.stage.settings |= SLOW
    frozen = live.start("frozen")
    live.stage.wait_until(lambda: live.sql("select count(*) from resolver.claims") == [(0,)], "no poll is under way")
    live.ask("release", ids)
    sent = "select quarantine_id from resolver.actions where state = 'sent' and id = 2"
    live.stage.wait_until(lambda: bool(live.sql(sent)), "the second was committed as sent")
    signal_group(frozen, signal.SIGSTOP)
    assert held[ids[1]] not in live.stage.sandbox.calls()["quarantine_requests"]
    thaws_at = time.monotonic() + 15  # its last moment to send at is ten seconds after its turn
    live.bury_dead()
    live.start("other")
    live.wait_until_concluded(90)
    assert live.stage.sandbox.calls()["quarantine_requests"][held[ids[1]]] == {"process": 1}
    time.sleep(max(0.0, thaws_at - time.monotonic()))
    signal_group(frozen, signal.SIGCONT)

    def read_late() -> list[dict[str, Any]]:
        return [event for event in live.stage.read_events("frozen", "actions_sent") if event["actions"] == [2]]

    live.stage.wait_until(lambda: bool(read_late()), "the thawed one has gone through with it")
    (late,) = read_late()
    assert not {"acknowledged", "unsure", "requested"} & set(late)  # its write was refused
    assert live.stage.sandbox.calls()["quarantine_requests"][held[ids[1]]] == {"process": 1}
    assert not live.find_violations()


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_workers_killed_and_frozen_again_and_again_act_once_and_lose_nothing(live: LiveStage) -> None:
    live.stage.settings["LEADBYTE_REQUESTS_PER_SECOND"] = "100"
    live.stage.start_beat()
    live.start("worker0", children=2)
    held = list(live.hold(160))
    for fault, times in {"500": 6, "lostrequest": 6, "lostreply": 6, "reset": 6, "slow-wait1": 6}.items():
        live.stage.sandbox.script("@process", fault, times)
    for number in range(1, 9):
        (_, pid), part = live.started[-1], held[number * 20 - 20 : number * 20]
        live.ask("release", part[:14])
        live.ask("reject", part[14:])
        live.start(f"worker{number}", children=2)
        live.kill_a_child(pid, number)
        signal_group(live.started[-1][1], signal.SIGSTOP)
        time.sleep(0.3)
        signal_group(live.started[-1][1], signal.SIGCONT)
        live.kill(pid)
    live.kill(live.started[-1][1])
    live.bury_dead()
    live.start("heir", children=2)
    live.wait_until_concluded(120)
    assert not live.find_violations()
    assert live.sql("select count(*) from resolver.actions") == [(160,)]
    # All their leads can be looked at, and no values were sent: nothing is left to a person.
    assert {state for (state,) in live.sql("select state from resolver.actions")} == {"confirmed"}
