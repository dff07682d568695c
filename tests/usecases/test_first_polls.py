"""When a new lead is polled for the first time: by what was learned of its account, else two seconds after intake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Sql = Callable[..., list[tuple[Any, ...]]]

WAITS = """
    select l.id % 50 = 0, extract(epoch from w.next_poll_at - w.watched_since)::float
    from resolver.watches w join resolver.leads l on l.id = w.lead_id order by 2
"""


@pytest.fixture
def learn(sql: Sql) -> Callable[..., None]:
    def insert(first_age: float, leads: int = 2000) -> None:
        sql(
            "insert into resolver.schedules (account_id, campaign_id, version, computed_at, leads, price_seconds, ages,"
            " expected_polls, expected_wait_seconds) select id, '', 1, now(), %s, 5, array[%s, 60.0], 1, 1"
            " from resolver.accounts",
            leads,
            first_age,
        )

    return insert


def track(sql: Sql, count: int) -> None:
    sql("select track_lead('acme', 'lead-' || lpad(n::text, 6, '0')) from generate_series(1, %s) n", count)


def test_the_first_poll_falls_just_behind_the_first_learned_age(sql: Sql, learn: Callable[..., None]) -> None:
    track(sql, 1)
    sql("delete from resolver.leads")
    learn(8.0)
    track(sql, 120)
    waits = sql(WAITS)
    learned = [wait for is_exploring, wait in waits if not is_exploring]
    exploring = [wait for is_exploring, wait in waits if is_exploring]
    assert min(learned) >= 8.0
    assert max(learned) <= 8.5
    assert exploring
    assert all(1.4 < wait < 2.6 for wait in exploring)


def test_too_little_learned_leaves_the_default(sql: Sql, learn: Callable[..., None]) -> None:
    track(sql, 1)
    sql("delete from resolver.leads")
    learn(8.0, leads=20)
    track(sql, 10)
    assert all(1.4 < wait < 2.6 for _, wait in sql(WAITS))


def test_a_long_files_turn_is_waited_for_all_the_same(sql: Sql, learn: Callable[..., None]) -> None:
    track(sql, 1)
    sql("delete from resolver.leads")
    learn(8.0)
    sql("select resolver.track_leads('acme', array['lead-777777'], array[null], interval '102 s', interval '0')")
    ((_, wait),) = sql(WAITS)
    assert 107 <= wait <= 110 or 101 <= wait <= 103
