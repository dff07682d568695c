"""The hot statements go by their indexes, at a hundred thousand leads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, TextClause, text

from tests.big_database import open_big_database
from worker.local.postgres import EmbeddedPostgres
from worker.store import accounts, claimable, claims, forgetting, leases, rechecks, rescue, settling, suspects, worklist
from worker.store.bulk import write_columns

NOW = datetime.now(UTC)

# Everything is dated from NOW: in a long run, this module is imported minutes before it is run.
FILL = f"""
    insert into resolver.accounts (name) values ('acme'), ('other');
    insert into resolver.leads (account_id, queue_id)
        select 1 + (n % 2), 'lead-' || lpad(n::text, 6, '0') from generate_series(1, 100000) n;
    insert into resolver.watches (lead_id, account_id, queue_id, watched_since, next_poll_at)
        select id, account_id, queue_id, '{NOW}', timestamptz '{NOW}' + interval '1 s' * (id % 3600 - 60)
        from resolver.leads;
    update resolver.watches set claim_id = 1, lease_until = timestamptz '{NOW}' - interval '1 s'
        where lead_id % 1000 = 0;
    insert into resolver.replies (lead_id, claim_id, received_at, http_status, body)
        select id, 1, '{NOW}', 200, '{{}}' from resolver.leads where id % 2 = 0;
    insert into resolver.unpersisted (reply_id, lead_id) select id, lead_id from resolver.replies where id % 10 = 0;
    insert into resolver.leads (account_id, queue_id, state, resolved_at)
        select 1 + (n % 2), 'final-' || lpad(n::text, 6, '0'), 'approved', timestamptz '{NOW}' - interval '1 min' * n
        from generate_series(1, 50000) n;
    insert into resolver.rechecks (lead_id, account_id, next_recheck_at, recheck_until)
        select id, account_id, timestamptz '{NOW}' + interval '1 s' * (id % 3600 - 60), '{NOW}'
        from resolver.leads where resolved_at is not null;
    insert into resolver.replies (lead_id, claim_id, received_at, http_status, body)
        select id, 2, resolved_at, 200, '{{}}' from resolver.leads where resolved_at is not null;
    analyze;
"""

RECHECK = {"account": "acme", "now": NOW, "every": timedelta(days=1), "gap": timedelta(seconds=1), "most": 100}
CLAIM = {"claim": 5, "until": NOW, "account": 1, "now": NOW, "oldest": 100, "newest": 100}
LOOK = {"names": ["acme", "other"], "now": NOW, "soon": NOW, "far": NOW, "until": NOW + timedelta(minutes=2), "run": 1}
RESCUE = {"now": NOW, "longest_lease": timedelta(minutes=2), "most_crashes": 3}
STEP = (NOW, True, False, None, None, "x", True)
SETTLED = {
    **write_columns(settling._STEP_COLUMNS, [(lead_id, *STEP) for lead_id in range(1, 201)]),
    "lease": leases.LEASE,
    "claim": 1,
    "now": NOW,
}


@pytest.fixture(scope="module")
def big(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[Engine]:
    with open_big_database(postgres, migrated_template, FILL) as engine:
        yield engine


def explain(engine: Engine, statement: TextClause, values: dict[str, object], *, without: str | None = None) -> str:
    """The plan; `without` an index, if one is named."""
    with engine.connect() as connection:
        if without is not None:
            connection.execute(text(f"drop index resolver.{without}"))
        rows = connection.execute(text(f"explain {statement.text}"), values).scalars()
        return "\n".join(rows)  # never committed


STATEMENTS: dict[str, tuple[TextClause, dict[str, Any], str, str]] = {
    "claim": (claims._CLAIM_LEADS, CLAIM, "watches", "ix_watches_due"),
    "due": (accounts._DUE, {"now": NOW, "most": 1600}, "watches", "ix_watches_due"),
    "claimable": (claimable._WITH_DUE_LEADS, LOOK, "watches", "ix_watches_due"),
    "claim a suspect": (suspects._CLAIM_SUSPECT, CLAIM, "watches", "ix_watches_suspect"),
    "suspected": (suspects._WITH_DUE_SUSPECTS, LOOK, "watches", "ix_watches_suspect"),
    "rescue": (rescue._RESCUE, RESCUE, "watches", "ix_watches_leased"),
    # By its leads, or where few are leased by those: either reads hundreds of rows, not all.
    "settle": (settling._SETTLE, SETTLED, "watches", "pk_watches ix_watches_leased"),
    "attempt": (
        worklist._ATTEMPT,
        {"limit": 500, "suspects": False, "most_attempts": 3},
        "unpersisted",
        "pk_unpersisted",
    ),
    "take": (
        worklist._TAKE,
        {"lead_ids": list(range(1, 501)), "reply_ids": list(range(1, 501))},
        "unpersisted",
        "ix_unpersisted_by_lead",
    ),
    "start rechecks": (rechecks._START, RECHECK, "rechecks", "ix_rechecks_due"),
    "count rechecks": (rechecks._COUNT_STARTED, RECHECK, "watches", "ix_watches_rechecked"),
    "end of rechecks": (rechecks._FORGET_OVER, RECHECK, "rechecks", "ix_rechecks_due"),
    "late finals": (
        rechecks._NEXT_FINALS,
        {"since": NOW - timedelta(days=7), "now": NOW, "most": 1000},
        "leads",
        "ix_leads_by_resolution",
    ),
    "forget replies": (
        forgetting._FORGET,
        {"before": NOW - timedelta(days=34), "now": NOW, "most": 2000},
        "replies",
        "ix_replies_by_age",
    ),
    "journal": (worklist._JOURNAL, {"lead_ids": list(range(1, 501))}, "replies", "uq_replies_lead_id_claim_id"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_hot_statement_reads_its_rows_by_an_index(big: Engine, name: str) -> None:
    statement, values, table, index = STATEMENTS[name]
    plan = explain(big, statement, values)
    assert any(name in plan for name in index.split())
    assert f"Seq Scan on {table}" not in plan


@pytest.mark.parametrize("name", ["claim", "due", "rescue", "take"])
def test_without_its_index_the_statement_would_read_the_whole_table(big: Engine, name: str) -> None:
    statement, values, table, index = STATEMENTS[name]
    assert f"Seq Scan on {table}" in explain(big, statement, values, without=index)


def test_the_look_at_accounts_is_no_join_which_would_read_all_that_is_due_after_an_import(big: Engine) -> None:
    assert "Join" not in explain(big, claimable._WITH_DUE_LEADS, LOOK)


def test_a_claim_reads_no_more_leads_than_it_takes(big: Engine) -> None:
    statement = text(f"explain (analyze, costs off, timing off) {claims._CLAIM_LEADS.text}")
    with big.connect() as connection:
        plan = list(connection.execute(statement, CLAIM).scalars())
    scans = [line for line in plan if "ix_watches_due" in line]
    assert len(scans) == 2
    assert all("rows=100" in line for line in scans)
