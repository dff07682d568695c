"""The journal beside polling: answers handed over at the submission, and choosing and comparing leads for a replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from worker.store.bulk import execute_many, list_rows, unnest

Snapshot = dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which leads: of an account, by queue ID, or with a reply since a moment; None: any."""

    account: str | None = None
    queue_ids: Sequence[str] | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class SubmissionAnswer:
    """What LeadByte said of a lead when it was submitted, as the journal keeps it."""

    queue_id: str
    body: str
    cut: str | None


_ANSWER_COLUMNS = {"queue_id": "text", "body": "text", "cut": "text"}

# Claim 0 is the submission: there is one a lead, so handing its answer over twice tells it once; also when it has been
# forgotten meanwhile.
_JOURNAL_ANSWERS = text(f"""
    with journalled as (
        insert into resolver.replies (lead_id, claim_id, received_at, http_status, body, cut)
        select l.id, 0, clock_timestamp(), 200, s.body, s.cut
        from {unnest(_ANSWER_COLUMNS, "s")}
        join resolver.accounts a on a.name = :account
        join resolver.leads l on l.account_id = a.id and l.queue_id = s.queue_id
        where not exists (
            select from resolver.outcomes o where o.lead_id = l.id and o.journal_cut_at is not null)
        on conflict (lead_id, claim_id) do nothing
        returning id, lead_id
    )
    insert into resolver.unpersisted (reply_id, lead_id) select id, lead_id from journalled
""")

_CHOOSE = text("""
    select l.id from resolver.leads l join resolver.accounts a on a.id = l.account_id
    where l.id > :after
        and (cast(:account as text) is null or a.name = :account)
        and (cast(:queue_ids as text[]) is null or l.queue_id = any(:queue_ids))
        and exists (
            select from resolver.replies r where r.lead_id = l.id
                and (cast(:since as timestamptz) is null or r.received_at >= :since))
    order by l.id limit :limit
""")

# Everything a reply can tell, as one document a lead: two documents can be compared whatever columns there are.
_SNAPSHOT = text("""
    select l.id, to_jsonb(v) - 'polls' - 'failures'
        || jsonb_build_object('buyers', (
            select jsonb_agg(to_jsonb(b) - 'lead_id' order by b.key) from resolver.buyers b where b.lead_id = l.id))
        || jsonb_build_object('deliveries', (
            select jsonb_agg(to_jsonb(d) - 'lead_id' order by d.key) from resolver.deliveries d where d.lead_id = l.id))
        as document
    from resolver.leads l join resolver.accounts a on a.id = l.account_id
    join reporting.leads v on v.account = a.name and v.queue_id = l.queue_id
    where l.id = any(:lead_ids)
""")


def journal_submission_answers(connection: Connection, account: str, answers: Sequence[SubmissionAnswer]) -> None:
    """Append answers to the journal and to the work list of persistence: they are settled without a poll."""
    if answers:
        rows = list_rows(_ANSWER_COLUMNS, answers)
        execute_many(connection, _JOURNAL_ANSWERS, _ANSWER_COLUMNS, rows, account=account)


def choose_leads(connection: Connection, chosen: Chosen, after: int, limit: int) -> list[int]:
    """The next leads that have a journal, by id."""
    values = {"account": chosen.account, "queue_ids": chosen.queue_ids, "since": chosen.since}
    return list(connection.execute(_CHOOSE, {**values, "after": after, "limit": limit}).scalars())


def read_snapshot(connection: Connection, lead_ids: Sequence[int]) -> Snapshot:
    """All that is recorded of these leads, by id."""
    return {row.id: row.document for row in connection.execute(_SNAPSHOT, {"lead_ids": list(lead_ids)})}
