"""Rows of any values reach Postgres as they are: the law that writing array literals by hand must keep."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from worker.store.bulk import execute_many, unnest
from worker.store.db import transaction

COLUMNS = {
    "a": "bigint",
    "b": "boolean",
    "c": "text",
    "d": "timestamptz",
    "e": "numeric",
}
SELECT = text(f"select * from {unnest(COLUMNS, 's')}")

# What the wire makes of any reply (worker/leadbyte/wire.py): neither NUL nor halves of surrogate pairs.
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
moments = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
rows = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.booleans(),
        st.none()
        | texts
        | st.sampled_from(["NULL", "null", "{}", '"', "\\", '\\"', ",", " ", "", "{a,b}", "\n", "\x1e", "\x1f"]),
        st.none() | moments,
        st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9),
    ),
    max_size=20,
)


@given(rows)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_rows_of_any_values_arrive_as_they_were_sent(engine: Engine, sent: Sequence[tuple[object, ...]]) -> None:
    with transaction(engine) as connection:
        assert [tuple(row) for row in execute_many(connection, SELECT, COLUMNS, sent)] == list(sent)


@pytest.mark.parametrize("value", [Decimal("1E+3"), Decimal("-0.000001"), Decimal("999999999.999999")])
def test_money_arrives_whatever_python_writes_it_like(engine: Engine, value: Decimal) -> None:
    with transaction(engine) as connection:
        row = execute_many(connection, SELECT, COLUMNS, [(None, None, None, None, value)]).one()
    assert row.e == value
