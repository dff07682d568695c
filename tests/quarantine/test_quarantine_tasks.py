"""The Celery tasks: IDs in, a word with counts out, never a field's value through the broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.quarantine.held_stage import DUE, Stage
from worker import errands, runtime
from worker.domain.backoff import LadderSchedule, delay_after_not_yet
from worker.domain.lifecycle import State
from worker.scheduling import plan_hints
from worker.settings import load_settings
from worker.store.budget import Budget
from worker.store.db import read_clock, transaction
from worker.store.slots import Slot, queue_up

LEAD = "sandbox-quarantined-0001"
SECRET = "PLANTED-value-77"
LATER = "clock_timestamp() + interval '1 min'"


def test_a_message_asks_and_another_sends(stage: Stage, tasks: Any) -> None:
    (held,) = stage.hold(LEAD)
    ask: Callable[..., str] = tasks.request_action.run
    assert ask("release", [LEAD, held, "nonsense!"], reason="typo") == "requested:1 already:1 refused:1"
    assert tasks.send_actions.run() == "looked:0 acknowledged:1"
    assert stage.effects() == [(held, "process")]
    (row,) = stage.rows()
    assert (row["requested_by"], row["reason"]) == ("Celery", "typo")


def test_a_message_asked_twice_is_one_action(stage: Stage, tasks: Any) -> None:
    stage.hold(LEAD)
    assert tasks.request_action.run("reject", LEAD, account="sandbox") == "requested:1 already:0 refused:0"
    assert tasks.request_action.run("reject", LEAD, account="sandbox") == "requested:0 already:1 refused:0"


def test_a_message_with_field_values_is_refused_without_a_word_of_them(stage: Stage, tasks: Any) -> None:
    stage.hold(LEAD)
    with pytest.raises(tasks.TaskFailed, match="must not travel through the broker") as raised:
        tasks.request_action.run("update", LEAD, fields={"postcode": SECRET})
    assert SECRET not in str(raised.value)
    assert stage.states() == [None]


def test_a_request_redelivered_is_harmless_and_acknowledged_late(tasks: Any) -> None:
    assert tasks.request_action.acks_late
    assert tasks.request_action.reject_on_worker_lost
    assert not tasks.send_actions.acks_late


def test_the_tick_hints_at_actions_only_while_something_is_due(stage: Stage) -> None:
    def tick() -> bool:
        stage.sql("delete from resolver.ticks")
        return plan_hints(stage.engine, ["sandbox"], 10).actions

    stage.hold(LEAD)
    assert not tick()
    stage.ask("release", LEAD)
    assert tick()
    stage.send()
    assert not tick()
    stage.sql(f"update resolver.actions set next_try_at = {DUE}")
    assert tick()


def test_an_account_whose_requests_hang_keeps_half_of_its_concurrency_for_polls(stage: Stage) -> None:
    leads = [f"sandbox-quarantined-{number:04}" for number in range(5)]
    stage.hold(*leads)
    stage.ask("release", *leads)
    under_way = "state = 'sent', token = id, next_try_at = now() + interval '1 min'"
    stage.sql(f"update resolver.actions set {under_way} where id <= 4")
    assert stage.send() == {}
    stage.sql("update resolver.actions set state = 'unsure' where id = 1")
    assert stage.send() == {"acknowledged": 1}


def test_polls_that_hold_every_permit_are_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD)
    permits = "insert into resolver.claims (account_id, permits, lease_until) values (1, 8, now() + interval '%s')"
    stage.sql(permits % "1 min")
    monkeypatch.setattr("worker.errands.TURN_SECONDS", 0.0)
    assert stage.send() == {}
    assert stage.sql("select sum(permits) from resolver.claims") == [(8,)]
    stage.sql("update resolver.claims set lease_until = now() + interval '0.5 s'")
    monkeypatch.setattr("worker.errands.TURN_SECONDS", 30.0)
    assert stage.send() == {"acknowledged": 1}


def test_who_waits_for_a_permit_gives_up_the_place_when_the_account_is_paused(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD)
    stage.sql(f"insert into resolver.claims (account_id, permits, lease_until) values (1, 8, {LATER})")
    pause = f"update resolver.accounts set paused_until = {LATER}, pause_kind = 'throttled', pause_reason = 'x'"
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: stage.sql(pause))
    monkeypatch.setattr(errands, "time", clock)
    assert stage.send() == {}
    assert stage.sql("select permits from resolver.claims") == [(8,)]


def test_a_place_that_lapsed_is_taken_up_again_behind_those_that_came_meanwhile(stage: Stage) -> None:
    budget = Budget(1000.0, 1)

    def queue(ticket: int | None) -> tuple[int | None, Slot | None]:
        with transaction(stage.engine) as connection:
            return queue_up(connection, "sandbox", budget, read_clock(connection), ticket)

    stage.hold(LEAD)
    first, slot = queue(None)
    assert slot is not None
    second, slot = queue(None)
    assert slot is None
    stage.sql(f"update resolver.claims set lease_until = clock_timestamp() where id in ({first}, {second})")
    third, slot = queue(None)
    assert slot is not None
    place, slot = queue(second)
    assert slot is None
    assert place is not None
    assert third is not None
    assert place > third


def test_a_lead_that_is_hurried_is_not_looked_at_as_seldom_as_held_ones_are() -> None:
    def wait(*, is_hurried: bool) -> timedelta:
        age = timedelta(seconds=4)
        ladder, held = LadderSchedule(), State.QUARANTINED
        return delay_after_not_yet(ladder, age, held, slowest=None, chance=0.5, is_hurried=is_hurried)

    assert wait(is_hurried=False) == timedelta(minutes=5)
    assert wait(is_hurried=True) == timedelta(seconds=3)


def test_the_sweep_acts_by_rule_where_one_is_configured(
    stage: Stage, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.hold(LEAD)
    stage.sql("update resolver.outcomes set fields_present = '{postcode}'")
    assert tasks.sweep_leases.run() == "rescued:0 parked:0"
    monkeypatch.setenv("LEADBYTE_RELEASE_WHEN_FIELDS", "Postcode")
    load_settings.cache_clear()
    runtime.read_accounts.cache_clear()
    assert tasks.sweep_leases.run() == "rescued:0 parked:0 release:1"
    assert tasks.sweep_leases.run() == "rescued:0 parked:0"
