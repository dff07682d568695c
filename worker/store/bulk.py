"""Many rows in one statement: rows of Python become array parameters that Postgres unnests.

A statement costs a round trip and a plan however many rows it carries, so nothing on the hot path runs once a lead. The
arrays are written here, as Postgres reads them: psycopg writes them as well, but value by value in Python, which took
70 µs for each reply of the journal instead of less than one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from msgspec.json import Encoder
from psycopg import DataError
from sqlalchemy import Connection, CursorResult, TextClause, text

from worker.errors import LeadResolverError


def unnest(columns: Mapping[str, str], alias: str) -> str:
    """`unnest(…) as alias (…)` for columns of {name: Postgres type}; `write_columns` makes the parameters.

    Postgres would unnest an array of arrays to its leaves, so a column of arrays comes as text.
    """
    arrays = ", ".join(_read_column(name, kind) for name, kind in columns.items())
    return f"unnest({arrays}) as {alias} ({', '.join(columns)})"


def _read_column(name: str, kind: str) -> str:
    if kind in _WRITTEN_AS_TEXT:
        # The first is empty: so a column of one empty text differs from one without any.
        return f"(string_to_array(cast(:{name} as text), cast(:{_END} as text), cast(:{_NULL} as text)))[2:]"
    return f"cast(:{name} as {kind}[])"


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
    """Run the statement once for all rows; each row has its values in the order of `columns`.

    Rows that come back are many, too: take them with `fetch_rows`.
    """
    return connection.execute(statement, {**write_columns(columns, rows), **constants})


def fetch_rows(result: CursorResult[Any]) -> Sequence[tuple[Any, ...]]:
    """All rows, as the driver has them: a `Row` around each costs as much as the row, and one by one thrice as much."""
    try:
        rows = result.cursor.fetchall()
    except DataError as error:  # Python has no year 10000, and no infinite moment
        said = f"Postgres has a value that can't be read ({type(error).__name__}); nothing was done"
        raise LeadResolverError(said) from None
    result.close()
    return rows


def write_columns(columns: Mapping[str, str], rows: Sequence[Sequence[object]]) -> dict[str, str]:
    """The parameters of `unnest(columns, …)` for these rows, each with its values in the order of `columns`."""
    by_column = list(zip(columns.items(), zip(*rows, strict=True) if rows else [()] * len(columns), strict=True))
    written = {name: write_values(values) for (name, kind), values in by_column if kind not in _WRITTEN_AS_TEXT}
    texts = {
        name: values if kind == "text" else [None if value is None else write_array(value) for value in values]
        for (name, kind), values in by_column
        if kind in _WRITTEN_AS_TEXT
    }
    return {**written, **_write_texts(texts)}


def list_rows(columns: Mapping[str, str], things: Iterable[object]) -> list[tuple[object, ...]]:
    """The attributes of these things that are called as the columns; `astuple` would copy every value."""
    return [*map(attrgetter(*columns), things)]


def write_array(values: Sequence[str]) -> str:
    """A `text[]` as Postgres reads it."""
    return "{" + ",".join([_quote(value) for value in values]) + "}"


def write_values(values: Sequence[object]) -> str:
    """An array of integers, decimals, truth values or moments: Postgres reads what JSON writes of these, and `null`.

    Not of floats: JSON has neither NaN nor infinity.
    """
    return "{" + _JSON.encode(values).decode("ascii")[1:-1] + "}"


def _write_texts(columns: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Texts are separated by a sign that is in none of them: nothing has to be escaped here, or read by Postgres."""
    for end, null in _list_signs(columns):
        written = {name: _join(values, end, null) if values else "" for name, values in columns.items()}
        if all(_reads_back(written[name], values, end, null) for name, values in columns.items()):
            return {**written, _END: end, _NULL: null} if columns else {}
    raise AssertionError("there are more signs than any text has")


def _join(values: Sequence[Any], end: str, null: str) -> str:
    try:
        return end.join(("", *values))  # most columns have no NULL, and looking for one costs more than joining
    except TypeError:
        return end.join(("", *(null if value is None else value for value in values)))


def _reads_back(written: str, values: Sequence[Any], end: str, null: str) -> bool:
    return written.count(end) == len(values) and (null not in written or written.count(null) == values.count(None))


def _list_signs(columns: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, str]]:
    yield "\x1f", "\x1e"
    used = {sign for values in columns.values() for value in values for sign in value or ""}
    free = (chr(code) for code in range(1, 0xD800) if chr(code) not in used)
    yield next(free), next(free)


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# In C, a column at a time: seventy times as fast as `str` and `isoformat`, value by value.
_JSON = Encoder(decimal_format="number")
_WRITTEN_AS_TEXT = frozenset({"text", "text[]"})
_END, _NULL = "text_end", "text_null"  # parameters: the sign before each text, and the one for NULL
