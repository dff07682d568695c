"""A stage with held leads; every test has a sandbox of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from tests.quarantine.held_stage import FOLLOW, Sql, Stage
from worker import runtime
from worker.accounts import Account
from worker.domain.backoff import LadderSchedule
from worker.domain.decide import Policy
from worker.leadbyte.acting import ActingClient
from worker.leadbyte.client import LeadByteClient
from worker.leadbyte.requests_transport import RequestsTransport
from worker.poller import Poller
from worker.sandbox import SandboxSettings, running_sandbox
from worker.sending import Sender


@pytest.fixture
def make_stage(engine: Engine, sql: Sql) -> Iterator[Callable[..., Stage]]:
    """A stage on a sandbox with these settings."""
    with ExitStack() as opened:

        def make(**settings: Any) -> Stage:
            box = opened.enter_context(running_sandbox(SandboxSettings(median_seconds=0.01, sigma=0.1, **settings)))
            account = Account("sandbox", box.base_url, "query", 1000.0, 8, SecretStr("sandbox-key"))
            policy = Policy(timedelta(days=7), timedelta(hours=1), LadderSchedule())
            client = LeadByteClient(RequestsTransport(), timeout_seconds=30.0)
            opened.callback(client.close)
            poller = Poller(engine, client, {"sandbox": account}, policy, batch_size=50)
            return Stage(engine, box, account, poller, Sender(engine, ActingClient(5.0), {}, FOLLOW), sql)

        yield make


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage()


@pytest.fixture
def tasks(stage: Stage, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("LEADBYTE_ACCOUNT", "sandbox")
    monkeypatch.setenv("LEADBYTE_API_KEY", "sandbox-key")
    monkeypatch.setenv("LEADBYTE_BASE_URL", stage.box.base_url)
    runtime._open_engine.cache_clear()
    # Late: importing it reads the settings.
    from worker import tasks

    monkeypatch.setattr(tasks, "hint", lambda _task: None)  # nobody listens at that Redis
    yield tasks
    runtime.open_process_engine().dispose()
    runtime._open_engine.cache_clear()
