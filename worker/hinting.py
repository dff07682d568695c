"""Hints: Celery messages that carry nothing and say "look into Postgres". Losing one costs a tick."""

from __future__ import annotations

from typing import Any

import structlog
from celery import Task
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from worker.scheduling import Seldom

log = structlog.get_logger(__name__)

# A Redis that hangs holds each hint up for as long as its timeout lasts, and meanwhile polling reads no answer.
REDIS_AWAY_SECONDS = 30.0


def hint(task: Task[..., Any]) -> bool:
    """Send a hint, if Redis takes it; if not, the next tick sends another."""
    try:
        task.apply_async()
    except (BrokerError, RedisError, OSError) as error:
        log.warning("hint_not_sent", task=task.name, error=type(error).__name__)
        return False
    return True


def hint_seldom(task: Task[..., Any], is_time: Seldom) -> None:
    """Send a hint if it is time for one; one that Redis did not take is followed by none for a while."""
    if is_time() and not hint(task):
        is_time.put_off(REDIS_AWAY_SECONDS)
