"""What the demo found: the reports of the database, and the comparison with the sandbox's own truth.

Neighbours: `worker.local.agreement` and `worker.local.effects` compare; `worker.cli.demo_page` prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from sqlalchemy import Connection, Engine, text

from worker.local.agreement import Agreement, compare
from worker.sandbox import SandboxClient
from worker.store import inquiries
from worker.store.db import transaction

# The first verdict: a return comes later.
_RECORDED = text("""
    select queue_id, extract(epoch from min(at))::double precision as recorded_at
    from reporting.events where to_state in ('approved', 'rejected', 'returned') and from_state <> to_state
    group by queue_id
""")
_LEDGER = text(
    "select * from reporting.quarantine where account = :account and action_id is not null order by action_id"
)
_ACTIONS = text("""
    select case when action <> 'update' and fields <> '{}' then 'update and ' || action else action end as action,
        action_state as state, count(*) as count
    from reporting.quarantine where action_id is not null group by 1, 2 order by 1 desc, 2
""")
_RELEASED_AGAIN = text("""
    select count(distinct queue_id) from reporting.quarantine
    where action = 'release' and action_state = 'confirmed' and cycle > 1
""")


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo found, as rows for tables or JSON."""

    leads: int
    elapsed_seconds: float
    campaigns: list[inquiries.Row]
    refusals: list[inquiries.Row]
    buyers: list[inquiries.Row]
    deliveries: list[inquiries.Row]
    actions: list[inquiries.Row]
    released_again: int
    states: dict[str, int]
    polls_per_lead: float
    polls_per_lead_until_verdict: float
    seconds_to_record_median: float | None
    seconds_to_record_p95: float | None
    agreement: Agreement


def read_demo_report(
    engine: Engine, sandbox: SandboxClient, account: str, states: dict[str, int], elapsed_seconds: float
) -> DemoReport:
    """The report on all leads there are; nothing may be under way any more."""
    truth, effects = sandbox.truth(), sandbox.actions()
    count = max(len(truth), 1)
    with transaction(engine) as connection:
        lags = sorted(_list_lags(truth, dict(connection.execute(_RECORDED).tuples().all())))
        ours = {queue_id: _read_one(connection, queue_id, account) for queue_id in truth}
        ledger = [dict(row) for row in connection.execute(_LEDGER, {"account": account}).mappings()]
        return DemoReport(
            leads=sum(states.values()),
            elapsed_seconds=round(elapsed_seconds, 1),
            campaigns=inquiries.read_report(connection, "campaign", None, None),
            refusals=inquiries.read_refusals(connection),
            buyers=inquiries.read_report(connection, "buyer", None, None),
            deliveries=inquiries.read_delivery_counts(connection),
            actions=[dict(row) for row in connection.execute(_ACTIONS).mappings()],
            released_again=connection.execute(_RELEASED_AGAIN).scalar_one(),
            states=states,
            polls_per_lead=round(sum(lead["polls"] for lead in truth.values()) / count, 2),
            polls_per_lead_until_verdict=round(sum(map(_count_polls_until_verdict, truth.values())) / count, 2),
            seconds_to_record_median=round(median(lags), 2) if lags else None,
            seconds_to_record_p95=round(quantiles(lags, n=20)[-1], 2) if len(lags) > 1 else None,
            agreement=compare(truth, ours, effects, ledger),
        )


def _count_polls_until_verdict(truth: Mapping[str, Any]) -> int:
    until = truth["polls_until_final"]
    return int(truth["polls"] if until is None else until)


def _read_one(connection: Connection, queue_id: str, account: str) -> inquiries.Row | None:
    leads = inquiries.read_leads(connection, queue_id, account)
    return leads[0] if leads else None


def _list_lags(truth: Mapping[str, Mapping[str, Any]], recorded: Mapping[str, float]) -> Iterator[float]:
    """Seconds from the moment LeadByte resolved a lead to the moment it was recorded here."""
    for queue_id, at in recorded.items():
        resolved = truth.get(queue_id, {}).get("resolved_unix")
        if resolved is not None:
            yield max(0.0, at - resolved)
