"""A lead that is deleted takes along all that is kept of it, also what is being written meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.usecases.test_persisting_replies import APPROVED, SOLD_TO_ONE
from worker.results import persist_replies
from worker.store.db import transaction

Sql = Callable[..., list[tuple[Any, ...]]]
LEAD, ANOTHER = "ac1e0206-12eaee18-63765b37-471b-f60cd31d", "ac1e0206-12eaee18-63765b37-471b-f60cd31e"
KEPT = ("watches", "replies", "unpersisted", "outcomes", "buyers", "deliveries", "lead_events")
SOLD = {**APPROVED, "response": {**APPROVED["response"], **SOLD_TO_ONE}}


def count_kept(sql: Sql) -> dict[str, int]:
    return {table: sql(f"select count(*) from resolver.{table}")[0][0] for table in KEPT}


def test_what_is_kept_of_a_lead_goes_with_it_and_nothing_of_another(
    engine: Engine, reply: Callable[..., None], sql: Sql
) -> None:
    reply(LEAD, SOLD)
    persist_replies(engine)
    reply(LEAD, SOLD)
    before = count_kept(sql)
    reply(ANOTHER, SOLD)
    persist_replies(engine)
    reply(ANOTHER, SOLD)
    sql("delete from resolver.leads where queue_id = %s", ANOTHER)
    assert count_kept(sql) == {**before, "unpersisted": 0}
    sql("delete from resolver.leads")
    assert set(count_kept(sql).values()) == {0}


@pytest.mark.parametrize("held", ["watches where lead_id = :lead", "leads where id = :lead"])
def test_a_lead_is_not_gone_before_what_is_being_written_of_it(
    engine: Engine, lead_of: Callable[[str], int], sql: Sql, held: str
) -> None:
    lead = {"lead": lead_of(LEAD)}
    with ThreadPoolExecutor(1) as pool:
        with transaction(engine) as connection:
            # As settling holds the watch, and persisting the lead.
            connection.execute(text(f"select from resolver.{held} for no key update"), lead)
            gone = pool.submit(sql, "delete from resolver.leads")
            while not connection.execute(text("select count(*) from pg_locks where not granted")).scalar_one():
                assert not gone.done()
            connection.execute(
                text("""insert into resolver.replies (lead_id, claim_id, received_at, http_status, body)
                        values (:lead, 1, now(), 200, '{}')"""),
                lead,
            )
        gone.result(timeout=60)
    assert set(count_kept(sql).values()) == {0}
