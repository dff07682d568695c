"""Reconnects a worker that has not heard from its broker for a while.

A connection that was cut without a word (a firewall that forgot it, a proxy that stands still) looks idle for ever:
Celery waits in BRPOP without a timeout, and the kernel asks only whether the peer's kernel is alive. Beat ticks every
second, so silence is a symptom. Reconnecting for nothing costs milliseconds.
"""

from __future__ import annotations

import time
from typing import Any

from celery import bootsteps
from celery.signals import task_received
from celery.worker.consumer import Consumer

LONGEST_SILENCE_SECONDS = 30.0
LOOK_EVERY_SECONDS = 5.0


class BrokerWatch(bootsteps.StartStopStep):
    """A step of the worker's consumer: looks every LOOK_EVERY_SECONDS, between two messages."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Consumer, **options: Any) -> None:  # noqa: ANN401 - Celery's options, passed on
        super().__init__(parent, **options)
        self._heard_at = 0.0
        self._timer: Any = None
        task_received.connect(self._hear)

    def start(self, parent: Consumer) -> None:
        """Begin to watch: at the start, and after every reconnection."""
        self._heard_at = time.monotonic()
        self._timer = parent.timer.call_repeatedly(LOOK_EVERY_SECONDS, self._look)

    def stop(self, parent: Consumer) -> None:
        """Stop watching; the connection is gone."""
        del parent
        if self._timer is not None:
            self._timer.cancel()

    def _hear(self, **_: Any) -> None:  # noqa: ANN401 - what Celery tells its listeners
        self._heard_at = time.monotonic()

    def _look(self) -> None:
        silence = time.monotonic() - self._heard_at
        if silence > LONGEST_SILENCE_SECONDS:
            # Celery takes this for the loss it probably is, and reconnects.
            raise ConnectionError(f"nothing heard from the broker for {silence:.0f} s")
