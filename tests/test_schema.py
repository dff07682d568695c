"""The schema: made by the migrations, known to SQLAlchemy, reversible."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from worker.errors import DatabaseUnavailable
from worker.store import migrate
from worker.store.db import transaction
from worker.store.migrate import find_migrations, migrate_to_head, read_current, read_head


def configure(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(find_migrations()))
    config.attributes["engine"] = engine
    return config


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    assert migrate_to_head(engine) == read_head()
    assert read_current(engine) == read_head()


def test_the_tables_are_what_sqlalchemy_thinks_they_are(engine: Engine) -> None:
    command.check(configure(engine))


def test_every_migration_can_be_taken_back_and_applied_again(engine: Engine) -> None:
    command.downgrade(configure(engine), "base")
    with transaction(engine) as connection:
        left = connection.execute(
            text("select count(*) from pg_tables where schemaname = 'resolver' and tablename <> 'alembic_version'")
        ).scalar_one()
    assert left == 0
    migrate_to_head(engine)
    command.check(configure(engine))


def test_a_deployment_waits_for_anothers_migration_and_says_so_when_that_takes_too_long(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "PATIENCE", "100ms")
    with psycopg.connect(database_url) as other:
        other.execute("select pg_advisory_lock(x'1EAD4E50'::int)")
        with pytest.raises(DatabaseUnavailable, match="another migration of this database has been running for 100ms"):
            migrate_to_head(engine)
    migrate_to_head(engine)


def test_the_reporting_role_reads_the_views_and_nothing_else(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set role lead_reporting")
        for view in ("leads", "buyers", "deliveries", "events", "daily", "pipeline", "quarantine"):
            connection.execute(f"select * from reporting.{view}")
        for statement in (
            "select * from resolver.leads",
            "delete from resolver.leads",
            "select track_lead('acme', 'abcdefgh')",
            "select request_quarantine_action('acme', '17', 'release')",
            "select * from resolver.action_fields",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


REPORTING = {
    "leads": """account queue_id reference state submitted_at resolved_at seconds_to_resolve campaign_accepted lead_id
        rejection_id result_code result_reason campaign_id campaign_name supplier_id supplier_name sold buyers revenue
        payout currency deliveries deliveries_sold polls failures quarantine_id state_reason""",
    "buyers": "account queue_id buyer_id buyer_bid buyer_name status revenue currency",
    "deliveries": """account queue_id delivery_id delivery_name buyer_id status reason revenue first_seen_at
        last_seen_at""",
    "events": "account queue_id at from_state to_state cause",
    "daily": """day account campaign_id campaign_name supplier_id submitted accepted refused sold unsold quarantined
        open abandoned returned revenue payout acceptance_rate sold_rate median_seconds_to_resolve""",
    "quarantine": """account queue_id quarantine_id lead_state held_since age_seconds cycle action_id action
        action_state requested_by reason by_policy fields requested_at sent_at acknowledged_at concluded_at done_by
        message""",
    "pipeline": """account open due oldest_overdue_seconds quarantined abandoned unsure_actions paused_until
        pause_reason polls_last_minute""",
}


def test_the_intake_role_tracks_leads_and_nothing_else(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set role lead_intake")
        connection.execute("select track_lead('acme', 'abcdefgh')")
        connection.execute("select request_quarantine_action('acme', '17', 'release')")
        for statement in (
            "select * from reporting.leads",
            "select resolver.track_leads('a', '{b}', '{c}', '1 s', '0')",
            "select resolver.request_actions('a', '{17}', 'release', null, null, 'me', false)",
            "select * from resolver.action_fields",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


@pytest.mark.parametrize("view", REPORTING)
def test_a_reporting_view_has_the_columns_it_promises(engine: Engine, view: str) -> None:
    with transaction(engine) as connection:
        result: Any = connection.execute(text(f"select * from reporting.{view}"))
        assert list(result.keys()) == REPORTING[view].split()
