"""Beat ticks by the monotonic clock, whatever the wall clock does."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
import time_machine
from celery import Celery
from celery.beat import Scheduler

from worker.beat import INTERVAL_SECONDS, EverySecond

WALL = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Monotonic:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_ticks_at_once_and_then_once_a_second() -> None:
    clock = Monotonic()
    schedule = EverySecond(clock)
    assert schedule.is_due(WALL) == (True, INTERVAL_SECONDS)
    clock.now += 0.25
    # Of which Celery's scheduler takes a hundredth of a second off again.
    not_yet = schedule.is_due(WALL)
    assert not not_yet.is_due
    assert not_yet.next == pytest.approx(0.76)
    assert schedule.remaining_estimate(WALL) == timedelta(seconds=0.75)
    clock.now += 0.75
    assert schedule.remaining_estimate(WALL) == timedelta(0)
    assert schedule.is_due(WALL) == (True, INTERVAL_SECONDS)


def test_beat_sleeps_until_it_is_time_instead_of_asking_again_and_again() -> None:
    clock, ticks = Monotonic(), []
    app = Celery(broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {"tick": {"task": "polling.schedule", "schedule": EverySecond(clock)}}
    scheduler = Scheduler(app, max_interval=1)
    with patch.object(scheduler, "apply_entry", lambda *_args, **_kwargs: ticks.append(clock.now)):
        for _ in range(30):
            clock.now += max(0.0, scheduler.tick())
    assert ticks == pytest.approx([1001.0 + n for n in range(15)])


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(days=1), timedelta(days=-3650)])
def test_a_wall_clock_that_jumps_neither_silences_nor_hurries_it(step: timedelta) -> None:
    clock = Monotonic()
    schedule = EverySecond(clock)
    with time_machine.travel(WALL, tick=False) as traveller:
        ticks = []
        for _ in range(8):
            traveller.shift(step)
            clock.now += 0.5
            ticks.append(schedule.is_due(WALL).is_due)
    assert ticks == [True, False] * 4


def test_ticks_that_were_missed_are_not_made_up_for() -> None:
    clock = Monotonic()
    schedule = EverySecond(clock)
    schedule.is_due(WALL)
    clock.now += 3600
    assert schedule.is_due(WALL).is_due
    assert not schedule.is_due(WALL).is_due


def test_celery_sees_one_schedule_that_never_changes() -> None:
    assert EverySecond() == EverySecond(Monotonic())
    assert hash(EverySecond()) == hash(EverySecond())
    assert EverySecond() != 1.0
    assert pickle.loads(pickle.dumps(EverySecond())) == EverySecond()  # noqa: S301 - our own bytes
