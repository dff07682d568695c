"""Leads that are due, and claims on them by the database's own clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.errors import DatabaseContended
from worker.store import suspects
from worker.store.budget import Budget
from worker.store.claims import Claim, Claimant, claim_due_leads
from worker.store.db import read_clock, transaction
from worker.store.leases import LEASE

Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def make_due(sql: Sql) -> Callable[..., None]:
    """Records leads `PREFIX-000001`… of an account, due a second ago, the first one first."""

    def make(count: int, account: str = "acme", prefix: str = "lead") -> None:
        sql(
            "select track_lead(%s, %s || '-' || lpad(n::text, 6, '0')) from generate_series(1, %s) n",
            account,
            prefix,
            count,
        )
        sql(
            "update resolver.watches set next_poll_at = clock_timestamp() - interval '1 s' + lead_id * interval '1 us'"
            " where queue_id like %s || '-%%'",
            prefix,
        )

    return make


@pytest.fixture
def claim(engine: Engine) -> Callable[..., Claim | None]:
    """One claim, committed, as a worker makes it: it comes back while another has the account locked.

    `rate` and `concurrency` are the account's budget.
    """

    def take(*args: Any, **options: Any) -> Claim | None:
        for _ in range(1000):
            with suppress(DatabaseContended):
                return try_to_take(*args, **options)
            time.sleep(0.01)
        return try_to_take(*args, **options)

    def try_to_take(
        account: str = "acme",
        *,
        rate: float = 1000.0,
        concurrency: int = 50,
        limit: int = 100,
        ours: int = 0,
        per_day: int | None = None,
        at: datetime | None = None,
        permit_lease: timedelta = LEASE,
        run: int | None = None,
    ) -> Claim | None:
        with transaction(engine) as connection:
            now = at or read_clock(connection)
            claim = claim_due_leads(
                connection,
                account,
                Budget(rate, concurrency, per_day),
                now,
                limit,
                Claimant(run, ours, permit_lease=permit_lease),
            )
            return claim if isinstance(claim, Claim) else None

    return take


@pytest.fixture
def claim_suspect(engine: Engine) -> Callable[..., Claim | None]:
    """One try at claiming a suspect of `acme`, committed."""

    def take(*, rate: float = 1000.0, concurrency: int = 50) -> Claim | None:
        with transaction(engine) as connection:
            now, budget = read_clock(connection), Budget(rate, concurrency)
            return suspects.claim_suspect(connection, "acme", budget, now, LEASE)

    return take
