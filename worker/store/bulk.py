"""Many rows in one statement: rows of Python become array parameters that Postgres unnests.

A statement costs a round trip and a plan however many rows it carries, so nothing on the hot path runs once a lead. The
arrays are written here, as Postgres reads them: psycopg writes them as well, but value by value in Python, which took
70 µs for each reply of the journal instead of 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, CursorResult, TextClause, text


def unnest(columns: Mapping[str, str], alias: str) -> str:
    """`unnest(…) as alias (…)` for columns of {name: Postgres type}; each name is a parameter holding a list.

    Postgres would unnest an array of arrays to its leaves, so a column of arrays comes as text.
    """
    kinds = ((name, "text" if kind.endswith("[]") else kind) for name, kind in columns.items())
    arrays = ", ".join(f"cast(:{name} as {kind}[])" for name, kind in kinds)
    return f"unnest({arrays}) as {alias} ({', '.join(columns)})"


def upsert(table: str, columns: Mapping[str, str], key: Sequence[str], *, kept: Sequence[str] = ()) -> TextClause:
    """Insert rows, or replace what differs on the rows that have the key; `kept` columns keep their first value."""
    names = ", ".join(columns)
    values = ", ".join(f"s.{name}::{kind}" if kind.endswith("[]") else f"s.{name}" for name, kind in columns.items())
    facts = [name for name in columns if name not in {*key, *kept}]
    then, now = (", ".join(f"{row}.{name}" for name in facts) for row in ("t", "excluded"))
    return text(f"""
        insert into {table} as t ({names}) select {values} from {unnest(columns, "s")}
        on conflict ({", ".join(key)}) do update set {", ".join(f"{name} = excluded.{name}" for name in facts)}
        where ({then}) is distinct from ({now})
    """)


def execute_many(
    connection: Connection,
    statement: TextClause,
    columns: Mapping[str, str],
    rows: Sequence[Sequence[object]],
    **constants: object,
) -> CursorResult[Any]:
    """Run the statement once for all rows; each row has its values in the order of `columns`."""
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    arrays = {name: write_array(kind, column) for (name, kind), column in zip(columns.items(), values, strict=True)}
    return connection.execute(statement, {**arrays, **constants})


def list_rows(columns: Mapping[str, str], things: Iterable[object]) -> list[tuple[object, ...]]:
    """The attributes of these things that are called as the columns; `astuple` would copy every value."""
    return [*map(attrgetter(*columns), things)]


def write_array(kind: str, values: Sequence[object]) -> str:
    """The values of one column as an array literal of Postgres; None is NULL."""
    return "{" + _WRITERS.get(kind, _write_numbers)(values) + "}"


# A column at a time rather than a value at a time: `join` and `replace` run in C.
def _write_numbers(values: Sequence[Any]) -> str:
    """Numbers and truth values, which are written as Python writes them."""
    return ",".join(map(str, values)).replace("None", "NULL")


def _write_texts(values: Sequence[Any]) -> str:
    joined = _BETWEEN.join([_NULL if value is None else value for value in values])
    if joined.count(_BETWEEN) != len(values) - 1 or joined.count(_NULL) != values.count(None):
        return ",".join(["NULL" if value is None else _quote(value) for value in values])
    quoted = _escape(joined).replace(_BETWEEN, '","')
    return f'"{quoted}"'.replace(f'"{_NULL}"', "NULL") if values else ""


def _write_moments(values: Sequence[Any]) -> str:
    # Rows about one reply share its moment: the same object is written once.
    written: dict[int, str] = {id(None): "NULL"}
    for value in values:
        if id(value) not in written:
            written[id(value)] = f'"{value.isoformat()}"'
    return ",".join([written[id(value)] for value in values])


def _write_lists(values: Sequence[Any]) -> str:
    return _write_texts([None if value is None else write_array("text", value) for value in values])


def _quote(value: str) -> str:
    return f'"{_escape(value)}"'


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


# Signs that no text of ours has; where one does after all, its column is written value by value.
_BETWEEN, _NULL = "\x1f", "\x1e"
_WRITERS: Mapping[str, Callable[[Sequence[Any]], str]] = {
    "text": _write_texts,
    "text[]": _write_lists,
    "timestamptz": _write_moments,
}
