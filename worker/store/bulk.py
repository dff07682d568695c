"""Many rows in one statement: rows of Python become array parameters that Postgres unnests.

A statement costs a round trip and a plan however many rows it carries, so nothing on the hot path runs once a lead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, TextClause, text


def unnest(columns: Mapping[str, str], alias: str) -> str:
    """`unnest(…) as alias (…)` for columns of {name: Postgres type}; each name is a parameter holding a list."""
    arrays = ", ".join(f"cast(:{name} as {kind}[])" for name, kind in columns.items())
    return f"unnest({arrays}) as {alias} ({', '.join(columns)})"


def upsert(table: str, columns: Mapping[str, str], key: Sequence[str], *, kept: Sequence[str] = ()) -> TextClause:
    """Insert rows, or replace what differs on the rows that have the key; `kept` columns keep their first value."""
    names = ", ".join(columns)
    facts = [name for name in columns if name not in {*key, *kept}]
    then, now = (", ".join(f"{row}.{name}" for name in facts) for row in ("t", "excluded"))
    return text(f"""
        insert into {table} as t ({names}) select * from {unnest(columns, "s")}
        on conflict ({", ".join(key)}) do update set {", ".join(f"{name} = excluded.{name}" for name in facts)}
        where ({then}) is distinct from ({now})
    """)


def execute_many(
    connection: Connection,
    statement: TextClause,
    columns: Iterable[str],
    rows: Sequence[Sequence[object]],
    **constants: object,
) -> CursorResult[Any]:
    """Run the statement once for all rows; each row has its values in the order of `columns`."""
    arrays = {name: [row[index] for row in rows] for index, name in enumerate(columns)}
    return connection.execute(statement, {**arrays, **constants})
