"""The floor: what the work costs at least. Fetching alone, then the bare inserts of rows made beforehand, by COPY.

`python -m tests.benchmarks.pipeline.floor FILE POLLS CONCURRENCY LATENCY_MS` does it once, in one process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import psycopg

from tests.benchmarks.pipeline.fetching import fetch_all
from tests.benchmarks.pipeline.peers.tables import COLUMNS, COUNT_OPEN, Row, count_stored, create_tables, make_rows
from tests.benchmarks.pipeline.peers.waiting import READY, WORD, hold_back, wait_for_word
from tests.benchmarks.pipeline.replies import PLACE, Expected, list_stories, write_body
from tests.benchmarks.pipeline.runs import Arena, Connection, Contestant, says_ready
from worker.local.processes import ChildSpec, Launcher
from worker.local.stack import child_environment

_RESOLVE = """
    update peer.leads l set state = e.to_state, polls = l.polls + 1, resolved_at = now()
    from peer.events e where e.lead_id = l.id
"""


class Floor(Contestant):
    """No claims, no reading of replies, no decisions, no recovery: nobody can do with less."""

    name = "floor"

    def start(self, arena: Arena, queue_ids: Sequence[str], launcher: Launcher) -> None:
        create_tables(arena.database_url, queue_ids)
        leads = arena.folder / "queue-ids"
        leads.write_text("\n".join(queue_ids), encoding="ascii")
        log = arena.folder / "floor.log"
        options = (str(leads), str(arena.scenario.polls), str(arena.concurrency), str(arena.scenario.latency_ms))
        environment = child_environment(BENCH_DATABASE_URL=arena.database_url, BENCH_BASE_URL=arena.base_url)
        argv = (sys.executable, "-m", __name__, *options)
        launcher.start(ChildSpec("floor", argv, environment, lambda: says_ready(log, READY)))

    def go(self, arena: Arena, launcher: Launcher) -> None:
        del arena
        os.kill(launcher.children["floor"], WORD)

    def count_open(self, connection: Connection) -> int:
        row = connection.execute(COUNT_OPEN).fetchone()
        return row[0] if row else 0

    def count_stored(self, connection: Connection) -> Expected:
        return count_stored(connection)


def _make_tables(queue_ids: Sequence[str]) -> dict[str, list[Row]]:
    bodies = [write_body(record) for record in list_stories()]
    tables: dict[str, list[Row]] = {name: [] for name in COLUMNS}
    for lead_id, queue_id in enumerate(queue_ids, start=1):
        rows = make_rows(lead_id, queue_id, bodies[int(queue_id[-1], 16)].replace(PLACE, queue_id).encode())
        assert rows is not None
        for name, several in rows.by_table.items():
            tables[name] += several
    return tables


def _work(queue_ids: Sequence[str], polls: int, concurrency: int, *, must_wait: bool) -> None:
    tables = _make_tables(queue_ids)
    with psycopg.connect(os.environ["BENCH_DATABASE_URL"]) as connection:
        wait_for_word()
        fetch_all(os.environ["BENCH_BASE_URL"], queue_ids, concurrency, polls, must_wait=must_wait)
        for name, rows in tables.items():
            with connection.cursor().copy(f"copy peer.{name} ({COLUMNS[name]}) from stdin") as copy:
                for row in rows:
                    copy.write_row(row)
        connection.execute(_RESOLVE)
        connection.commit()
        wait_for_word()  # until we are ended: what has been used is read off a living process


if __name__ == "__main__":
    hold_back()
    with open(sys.argv[1], encoding="ascii") as file:  # noqa: PTH123 - an argument of ours
        given = file.read().split()
    _work(given, int(sys.argv[2]), int(sys.argv[3]), must_wait=float(sys.argv[4]) > 0)
