"""What becomes of a message in Redis that is none: it is thrown away, and the worker goes on.

Kombu lets the error of a message without JSON, or without an envelope, end the worker that took it; Celery then logs
what it cannot use with its whole body. Whoever can reach Redis could stop all workers, or write into their logs.
Used by `worker.celery_app`.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

log = structlog.get_logger(__name__)

_UNUSABLE = (ValueError, TypeError, LookupError, AttributeError)


class Channel(kombu_redis.Channel):
    """Reads messages; one that is no JSON counts as read."""

    def _brpop_read(self, **options: Any) -> bool | None:  # noqa: ANN401 - kombu's, passed on
        try:
            return bool(super()._brpop_read(**options))  # type: ignore[misc]  # the stubs leave it out
        except ValueError as error:
            log.warning("message_thrown_away", kind=type(error).__name__)
            return None


class Transport(kombu_redis.Transport):
    """Delivers messages; one that cannot be delivered is forgotten, so that it takes up no place in the prefetch."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str | None) -> None:  # noqa: ANN401 - whatever JSON somebody sent
        try:
            _check_limits(message)
            super()._deliver(message, queue)
        except _UNUSABLE as error:
            log.warning("message_thrown_away", queue=queue, kind=type(error).__name__)
            self._forget(message)

    def _forget(self, message: Any) -> None:  # noqa: ANN401 - likewise
        try:
            tag = message["properties"]["delivery_tag"]
            # The only place that says which channel counts it.
            holders = [channel for channel in self.channels or () if tag in (channel.qos._delivered or ())]  # noqa: SLF001
        except _UNUSABLE:
            return  # it never got so far as to be counted
        for channel in holders:
            channel.basic_reject(tag, requeue=False)


def _check_limits(message: Any) -> None:  # noqa: ANN401 - likewise
    """ValueError for time limits that are none: Celery finds out only when it has taken the message to its heart."""
    limits = message["headers"].get("timelimit") or ()
    if not isinstance(limits, list | tuple) or not all(
        limit is None or type(limit) in {int, float} for limit in limits
    ):
        raise ValueError("timelimit")


def _leave_bodies_out(record: logging.LogRecord) -> bool:
    """Keep the first line of what Celery says of such a message: the body and headers come after it."""
    if "body" in str(record.msg):
        record.msg, record.args = str(record.msg).strip().splitlines()[0].split("%")[0].strip(), ()
        record.exc_info = None
    return True


def install() -> None:
    """Make every connection to Redis use these; before the first one is made."""
    TRANSPORT_ALIASES.update(redis=f"{__name__}:Transport", rediss=f"{__name__}:Transport")
    logging.getLogger("celery.worker.consumer.consumer").addFilter(_leave_bodies_out)
