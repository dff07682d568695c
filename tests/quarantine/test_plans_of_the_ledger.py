"""The ledger's hot statements go by their indexes, with a year of actions in it and a hundred thousand leads beside."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, TextClause, text

from tests.big_database import open_big_database
from worker.local.postgres import EmbeddedPostgres
from worker.store import action_looks, actions

NOW = datetime.now(UTC)
LEADS = 60_000
# One in a hundred actions is under way, in every state; the others were concluded long ago.
FILL = f"""
    insert into resolver.accounts (name) values ('acme'), ('other');
    insert into resolver.leads (account_id, queue_id, state)
        select 1 + (n % 2), 'lead-' || lpad(n::text, 6, '0'), 'quarantined' from generate_series(1, {LEADS}) n;
    insert into resolver.outcomes (lead_id, quarantine_id, buyers_told, deliveries_told, last_reply_id)
        select id, 1000000 + id, false, false, 0 from resolver.leads;
    insert into resolver.watches (lead_id, account_id, queue_id, watched_since, next_poll_at)
        select id, account_id, queue_id, '{NOW}', '{NOW}' from resolver.leads;
    insert into resolver.lead_events (lead_id, at, to_state, cause)
        select id, '{NOW}', 'quarantined', 'told' from resolver.leads;
    insert into resolver.actions (account_id, quarantine_id, lead_id, since_event, cycle, kind, state, field_names,
            requested_by, by_policy, requested_at, next_try_at, concluded_at, token, unsure_at)
        select 1 + (n % 2), 1000000 + n, n, 0, 1, 'release', s.state, '{{}}', 'kim', false, '{NOW}',
            case when s.state <> 'confirmed' then timestamptz '{NOW}' + interval '1 s' * (n % 600 - 60) end,
            case when s.state = 'confirmed' then timestamptz '{NOW}' end, n, '{NOW}'
        from generate_series(1, {LEADS}) n, lateral (select case when n % 100 > 0 then 'confirmed'
            else (array['requested', 'sent', 'unsure', 'acknowledged'])[1 + n / 100 % 4] end as state) s;
    analyze;
"""
CLAIM = {"account": 1, "now": NOW, "shapes": ["process"], "token": 5, "until": NOW, "limit": 20}
NOW_ONLY = {"now": NOW}
STATEMENTS: dict[str, tuple[TextClause, dict[str, Any]]] = {
    "tick": (action_looks._IS_ANY_DUE, NOW_ONLY),
    "accounts": (action_looks._ACCOUNTS_DUE, NOW_ONLY),
    "first": (actions._FIRST_SHAPE, CLAIM),
    "claim": (actions._CLAIM, CLAIM),
    "under way": (actions._UNDER_WAY, CLAIM),
    "in doubt": (actions._IN_DOUBT, {"account": 1, "since": NOW}),
    "expire": (action_looks._EXPIRE, {"now": NOW, "message": "x", "follow_until": NOW}),
    "adopt": (action_looks._ADOPT, NOW_ONLY),
    "look": (action_looks._DUE, NOW_ONLY),
    "calm": (action_looks._CALM_DOWN, {"lead_ids": [1, 2, 3], "now": NOW, "soon": NOW}),
    "hurry": (actions._HURRY, {"lead_ids": [1, 2, 3], "now": NOW, "soon": NOW}),
}
BIG = ("actions", "leads", "outcomes", "watches", "lead_events")
_SCANS = text("select relname, seq_scan from pg_stat_user_tables where relname = any(:big)")


@pytest.fixture(scope="module")
def big(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[Engine]:
    with open_big_database(postgres, migrated_template, FILL) as engine:
        yield engine


def explain(engine: Engine, name: str, *, without: str | None = None) -> list[str]:
    """The plan's scans of whole big tables; `without` an index, if one is named."""
    statement, values = STATEMENTS[name]
    with engine.connect() as connection:
        if without is not None:
            connection.execute(text(f"drop index resolver.{without}"))
        plan = list(connection.execute(text(f"explain {statement.text}"), values).scalars())
    return [line for line in plan if any(f"Seq Scan on {table} " in line for table in BIG)]  # never committed


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_of_the_ledger_reads_no_table_as_a_whole(big: Engine, name: str) -> None:
    assert explain(big, name) == []


def test_without_its_index_the_tick_would(big: Engine) -> None:
    assert explain(big, "tick", without="ix_actions_due")


def test_asking_reads_no_table_as_a_whole(big: Engine) -> None:
    def read_scans() -> dict[str, int]:
        with big.begin() as connection:
            connection.execute(text("select pg_stat_force_next_flush()"))
        with big.begin() as connection:
            return {row.relname: row.seq_scan for row in connection.execute(_SCANS, {"big": list(BIG)})}

    before = read_scans()
    with big.begin() as connection:
        for number in range(1, 25):  # past the point from which Postgres may plan without the values
            for given in (f"lead-{number:06}", str(1_000_000 + 500 * number)):
                account = "acme" if number % 2 == 0 else "other"
                _, (row,) = actions.request_actions(
                    connection,
                    account,
                    [given],
                    "reject",
                    fields=None,
                    reason=None,
                    requested_by="kim",
                    by_policy=False,
                )
                assert "requested" in row.outcome or "no longer" in row.said or "no lead" in row.said, row
    assert read_scans() == before
