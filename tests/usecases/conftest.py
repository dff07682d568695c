"""A lead of ours, and replies about it put in the journal as polling does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

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
