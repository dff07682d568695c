"""One verdict, one transaction: what a task of a peer does once LeadByte has answered.

psycopg prepares the statements by itself, since each connection sees them often. Its pipeline mode saves round trips,
but costs a quarter more CPU, and on one machine round trips cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from tests.benchmarks.pipeline.peers.tables import COLUMNS, Row, Rows

_COUNT_POLL = "update peer.leads set polls = polls + 1 where id = %s"
_FINISH = """
    update peer.leads set state = %s, polls = polls + 1, resolved_at = now() where id = %s and resolved_at is null
"""


def _list_statements(lead_id: int, rows: Rows | None) -> Iterator[tuple[str, Row]]:
    if rows is None:
        yield _COUNT_POLL, (lead_id,)
        return
    yield _FINISH, (rows.state, lead_id)
    for table, several in rows.by_table.items():
        if several:
            # One statement a table, whatever the number of rows.
            one = f"({', '.join(['%s'] * len(several[0]))})"
            places = ", ".join([one] * len(several))
            yield (
                f"insert into peer.{table} ({COLUMNS[table]}) values {places}",
                tuple(v for row in several for v in row),
            )


def save(connection: psycopg.Connection[Any], lead_id: int, rows: Rows | None) -> None:
    """Store what one poll told."""
    with connection.transaction():
        for statement, values in _list_statements(lead_id, rows):
            connection.execute(statement, values)


async def save_async(connection: psycopg.AsyncConnection[Any], lead_id: int, rows: Rows | None) -> None:
    """Store what one poll told."""
    async with connection.transaction():
        for statement, values in _list_statements(lead_id, rows):
            await connection.execute(statement, values)
