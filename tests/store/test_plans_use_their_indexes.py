"""What the steps of the flow read in a big database: their rows by an index, never a whole table.

Postgres' own counters say so, whatever statements a step is made of; `test_indexed_statements.py` looks at single ones,
and at the work list of persistence, which is big only while something is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy import Engine, text

from tests.benchmarks.scale.filling import fill
from tests.benchmarks.scale.steps import forget_duties, list_steps
from tests.big_database import open_big_database
from worker.local.postgres import EmbeddedPostgres
from worker.rescue import sweep
from worker.store.db import transaction

LEADS, OPEN = 60_000, 10_000
# From the sixth time on psycopg has a statement prepared; five times later Postgres might plan it without its values.
ROUNDS = 12
BIG = ("leads", "watches", "replies", "lead_events", "outcomes", "buyers", "deliveries")
INDEXES: dict[str, set[str]] = {
    "tick": {"ix_watches_due"},
    "claim": {"ix_watches_due", "pk_leads"},
    "settle": set(),  # by the leads or by their leases, whichever are fewer
    "persist": {"pk_leads", "pk_replies", "uq_lead_events_reply_id"},
    "sweep": {"ix_watches_leased"},
}
# A sixth is due: where many are, reading the whole table is the best way of finding some.
_POSTPONE = "update resolver.watches set next_poll_at = next_poll_at + interval '50 minutes'"
_COUNTERS = """
    select relname as name, seq_scan as scans from pg_stat_user_tables where relname = any(:big)
    union all select indexrelname, idx_scan from pg_stat_user_indexes where relname = any(:big)
"""


def fill_all(url: str) -> None:
    fill(url, LEADS, OPEN)
    with psycopg.connect(url, autocommit=True) as filled:
        filled.execute(_POSTPONE)
        filled.execute("vacuum analyze")


@pytest.fixture(scope="module")
def big(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[Engine]:
    with open_big_database(postgres, migrated_template, fill_all) as engine:
        yield engine


def list_all_steps(engine: Engine) -> dict[str, Callable[[], object]]:
    """The steps of one batch, and the sweep, as often as it may come."""
    return {**list_steps(engine), "sweep": lambda: sweep(engine)}


def read_counters(engine: Engine) -> Counter[str]:
    """How often each big table was read whole and each of its indexes was used, by all that has been done so far."""
    with transaction(engine) as connection:
        connection.execute(text("select pg_stat_force_next_flush()"))
    with transaction(engine) as connection:
        rows = connection.execute(text(_COUNTERS), {"big": list(BIG)})
        return Counter({row.name: row.scans for row in rows})


def count_scans(engine: Engine, rounds: int) -> dict[str, Counter[str]]:
    """What each step adds to the counters, over so many batches."""
    counted: dict[str, Counter[str]] = {}
    for _ in range(rounds):
        forget_duties(engine)
        for name, step in list_all_steps(engine).items():
            before = read_counters(engine)
            step()
            counted.setdefault(name, Counter()).update(read_counters(engine) - before)
    return counted


def test_no_step_reads_a_whole_table_and_each_uses_its_index(big: Engine) -> None:
    counted = count_scans(big, ROUNDS)
    for step, scans in counted.items():
        whole = {name for name in BIG if scans[name]}
        assert not whole, f"{step} reads all of {whole}"
        unused = {index for index in INDEXES[step] if scans[index] < ROUNDS}
        assert not unused, f"{step} no longer uses {unused}: {scans}"


@pytest.mark.parametrize(
    ("step", "index", "table"),
    [
        ("tick", "ix_watches_due", "watches"),
        ("claim", "ix_watches_due", "watches"),
        ("sweep", "ix_watches_leased", "watches"),
    ],
)
def test_without_its_index_the_step_reads_the_whole_table(big: Engine, step: str, index: str, table: str) -> None:
    with transaction(big) as connection:
        made_by = connection.execute(
            text("select pg_get_indexdef(cast(:name as regclass))"), {"name": f"resolver.{index}"}
        )
        definition = made_by.scalar_one()
        connection.execute(text(f"drop index resolver.{index}"))
    try:
        assert count_scans(big, 1)[step][table]
    finally:
        with transaction(big) as connection:
            connection.execute(text(definition))
