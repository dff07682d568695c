"""A lead of ours, replies about it put in the journal as polling does, and pollers of a sandbox."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from worker import claiming
from worker.accounts import Account
from worker.domain.backoff import LadderSchedule
from worker.domain.decide import Policy
from worker.leadbyte.choice import open_transport
from worker.leadbyte.client import LeadByteClient
from worker.poller import Poller
from worker.sandbox import SandboxClient
from worker.store.claims import Claim
from worker.store.db import transaction
from worker.store.settling import JournalEntry, journal_replies

Sql = Callable[..., list[tuple[Any, ...]]]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def lead_of(sql: Sql) -> Callable[[str], int]:
    """The row id of a queue ID, tracked now if it was not yet."""

    def find(queue_id: str) -> int:
        sql("select track_lead('acme', %s)", queue_id)
        ((lead_id,),) = sql("select id from resolver.leads where queue_id = %s", queue_id)
        return int(lead_id)

    return find


@pytest.fixture
def reply(engine: Engine, lead_of: Callable[[str], int]) -> Callable[..., None]:
    """Journals one reply about a queue ID: a record, or any body; each received a second after the one before."""
    count = 0

    def journal(queue_id: str, record: Mapping[str, Any] | None = None, *, body: str = "", status: int = 200) -> None:
        nonlocal count
        count += 1
        lead_id = lead_of(queue_id)
        if record is not None:
            body = json.dumps({"status": "Success", "records": [{"queueId": queue_id, **record}]})
        entry = JournalEntry(lead_id, NOON + timedelta(seconds=count), status, body, None)
        with transaction(engine) as connection:
            journal_replies(connection, Claim(count, 1, ()), [entry])

    return journal


@pytest.fixture
def facts_of(sql: Sql) -> Callable[..., dict[str, Any]]:
    """What `reporting.leads` says of a queue ID; the columns named, or all."""

    def read(queue_id: str, *columns: str) -> dict[str, Any]:
        ((row,),) = sql("select to_jsonb(v) from reporting.leads v where queue_id = %s", queue_id)
        return {name: row[name] for name in columns or row}

    return read


@pytest.fixture(params=["requests", "curl"])
def make_poller(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Callable[[SandboxClient, int], Poller]]:
    """What polls a sandbox, so many requests at once and twenty leads a batch, over either transport."""
    with ExitStack() as opened:

        def make(box: SandboxClient, concurrency: int) -> Poller:
            account = Account("sandbox", box.base_url, "query", 1000.0, concurrency, SecretStr("sandbox-key"))
            client = LeadByteClient(open_transport(request.param), timeout_seconds=60.0)
            opened.callback(client.close)
            policy = Policy(timedelta(days=7), timedelta(hours=1), LadderSchedule())
            return Poller(engine, client, {"sandbox": account}, policy, batch_size=20)

        yield make


@pytest.fixture
def make_due(sql: Sql) -> Callable[[str, int], None]:
    """Tracks so many leads of the sandbox, `#` being their number; all watched leads are due since a second ago."""

    def track(pattern: str, count: int) -> None:
        sql("select track_lead('sandbox', replace(%s, '#', n::text)) from generate_series(1, %s) n", pattern, count)
        sql("update resolver.watches set next_poll_at = clock_timestamp() - interval '1 s'")

    return track


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds go by for what claims."""
    now = [0.0]
    monkeypatch.setattr(claiming, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return lambda seconds: now.append(seconds + now.pop())
