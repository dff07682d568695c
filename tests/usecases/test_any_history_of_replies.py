"""Whatever LeadByte tells, in whatever order: persisting it in one batch equals persisting it reply by reply."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from worker.results import _persist_batch, refold_leads
from worker.store.claims import Claim
from worker.store.db import transaction
from worker.store.forgetting import forget_old_replies
from worker.store.settling import JournalEntry, journal_replies

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

money = st.sampled_from(["2.00", "12.50", "0.00", "Pending", "", None, "N/A", 3.25])
words = st.sampled_from(["Sold", "Unsold", "Returned", "Skipped", None])
buyers = st.lists(
    st.fixed_dictionaries(
        {"id": st.integers(1, 3), "status": words}, optional={"revenue": money, "currency": st.just("GBP")}
    ),
    max_size=3,
)
deliveries = st.lists(
    st.fixed_dictionaries({"id": st.integers(1, 3), "status": words}, optional={"reason": st.just("Rule mismatch")}),
    max_size=3,
)
records = st.fixed_dictionaries(
    {
        "status": st.sampled_from(
            [
                "Queued",
                "Pending",
                "Quarantined",
                "Approved",
                "Rejected",
                "Returned",
                "Processed",
                "Not Found",
                "Odd",
                None,
            ]
        )
    },
    optional={
        "response": st.fixed_dictionaries(
            {"code": st.sampled_from([1, -2, -8, None])},
            optional={
                "leadId": st.sampled_from([7, None]),
                "rejectionId": st.just(9),
                "payout": money,
                "response": st.sampled_from(["OK", "HLR rejection"]),
                "quarantineId": st.integers(1, 3),
                "buyers": buyers,
                "deliveries": deliveries,
            },
        ),
        "processed": st.sampled_from(["2026-03-01T11:00:00Z", "0000-00-00", "2031-01-01T00:00:00Z"]),
        "campaign": st.fixed_dictionaries({}, optional={"id": st.integers(1, 2), "name": st.just("Life")}),
        "buyers": buyers,
    },
)

FACTS = text("""
    select (to_jsonb(v) - 'queue_id')::text as lead,
        (select jsonb_agg(to_jsonb(b) - 'queue_id' order by to_jsonb(b)::text)::text
            from reporting.buyers b where b.queue_id = v.queue_id) as buyers,
        (select jsonb_agg(to_jsonb(d) - 'queue_id' order by to_jsonb(d)::text)::text
            from reporting.deliveries d where d.queue_id = v.queue_id) as deliveries,
        (select jsonb_agg(to_jsonb(e) - 'queue_id' - 'at')::text
            from reporting.events e where e.queue_id = v.queue_id) as events
    from reporting.leads v where v.queue_id = :queue_id
""")


def prepare(connection: Connection) -> dict[str, int]:
    """Two leads as new, at the same moment: one for each way of persisting."""
    for table in ("leads", "claims", "accounts"):
        connection.execute(text(f"delete from resolver.{table}"))
    for name in ("lead-batch", "lead-single"):
        connection.execute(text("select track_lead('acme', :name)"), {"name": name})
    connection.execute(text("update resolver.leads set tracked_at = :noon, submitted_at = :noon"), {"noon": NOON})
    return {row.queue_id: row.id for row in connection.execute(text("select id, queue_id from resolver.leads"))}


def journal(engine: Engine, lead_id: int, queue_id: str, told: Iterable[tuple[int, dict[str, Any]]]) -> None:
    with transaction(engine) as connection:
        for number, record in told:
            body = json.dumps({"status": "Success", "records": [{"queueId": queue_id, **record}]})
            entry = JournalEntry(lead_id, NOON + timedelta(seconds=number), 200, body, None)
            journal_replies(connection, Claim(number + 1, 1, ()), [entry])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(records, min_size=1, max_size=5))
def test_a_history_persisted_in_one_batch_equals_it_persisted_reply_by_reply(
    engine: Engine, history: list[dict[str, Any]]
) -> None:
    with transaction(engine) as connection:
        leads = prepare(connection)
    for number, record in enumerate(history):
        journal(engine, leads["lead-single"], "lead-single", [(number, record)])
        _persist_batch(engine, 500, suspects=False)
    journal(engine, leads["lead-batch"], "lead-batch", enumerate(history))
    _persist_batch(engine, 500, suspects=False)
    with transaction(engine) as connection:
        single, batch = (connection.execute(FACTS, {"queue_id": name}).one() for name in ("lead-single", "lead-batch"))
        assert batch == single
        # And told again, all of it, it is still the same.
        connection.execute(text("insert into resolver.unpersisted select id, lead_id from resolver.replies"))
    _persist_batch(engine, 500, suspects=False)
    with transaction(engine) as connection:
        for name in leads:
            assert connection.execute(FACTS, {"queue_id": name}).one() == single


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    history=[
        {"status": "Queued"},
        {"status": "Queued", "buyers": [{"id": 1, "status": "Unsold"}]},
        {"status": "Approved", "buyers": [{"id": 1, "status": "Sold"}]},
    ],
    forgotten=1,
)
@example(
    history=[
        {"status": "Queued", "campaign": {"name": "Life", "id": 2}},
        {"status": "Queued", "campaign": {"name": "Life"}, "buyers": []},
        {"status": "Approved", "campaign": {"id": 1}},
    ],
    forgotten=1,
)
@given(history=st.lists(records, min_size=1, max_size=5), forgotten=st.integers(1, 5))
def test_replaying_what_is_left_of_a_journal_gives_what_the_whole_of_it_gave(
    engine: Engine, history: list[dict[str, Any]], forgotten: int
) -> None:
    with transaction(engine) as connection:
        lead_id = prepare(connection)["lead-single"]
    journal(engine, lead_id, "lead-single", enumerate(history))
    _persist_batch(engine, 500, suspects=False)
    with transaction(engine) as connection:
        before = connection.execute(FACTS, {"queue_id": "lead-single"}).one()
        forget_old_replies(connection, NOON + timedelta(seconds=forgotten - 0.5), NOON)
        refold_leads(connection, [lead_id])
        assert connection.execute(FACTS, {"queue_id": "lead-single"}).one()[:3] == before[:3]
