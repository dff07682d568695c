"""Writing down what came of a claim: journal the replies, snooze or fail the leads, release the lease; fenced.

Only leads that still carry the claim's id (the fencing token of M. Kleppmann, "How to do distributed locking", 2016)
under an unexpired lease are written about: a worker paused past its lease has lost them and changes nothing.
Neighbours: `worker.store.claims` before it, `worker.store.worklist` after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection, text

from worker.domain.decide import Step
from worker.store.bulk import execute_many, fetch_rows, list_rows, unnest
from worker.store.claims import Claim
from worker.store.leases import LEASE


class JournalEntry(Struct, frozen=True, gc=False):
    """A reply as it is kept: `cut` says what was taken out of the body, if anything."""

    lead_id: int
    received_at: datetime
    http_status: int
    body: str
    cut: str | None


class Release(Struct, frozen=True, gc=False):
    """What becomes of a claim's permits: it has `left` leads to be answered, and needs `freed` of them no more.

    Of these `passed_on` go to the claim `heir`, which is of the same process, and the others to whoever comes.
    """

    left: int = 0
    freed: int = 0
    heir: int | None = None
    passed_on: int = 0


_STEP_COLUMNS = {
    "lead_id": "bigint",
    "next_poll_at": "timestamptz",
    "asked": "boolean",
    "failed": "boolean",
    "not_found_since": "timestamptz",
    "told_digest": "bigint",
    "note": "text",
    "told": "boolean",
}

_REPLY_COLUMNS = {
    "lead_id": "bigint",
    "received_at": "timestamptz",
    "http_status": "smallint",
    "body": "text",
    "cut": "text",
}

_SETTLE = text(f"""
    update resolver.watches w set
        claim_id = null, lease_until = null,
        -- Not asked: as suspect as it was.
        crashes = case when s.asked then 0 else w.crashes end,
        -- Not asked: it keeps its place (by now, lest a clock that was set back make it wait). Acted upon while it was
        -- being asked about: soon again.
        next_poll_at = least(
            coalesce(s.next_poll_at, least(w.next_poll_at, :now)),
            case when w.hurry_since > w.lease_until - cast(:lease as interval) then :now + interval '2 seconds' end
        ),
        polls = w.polls + s.asked::int,
        failures = w.failures + s.failed::int,
        failure_streak = case when s.failed then least(w.failure_streak + 1, 10000) when s.asked then 0
            else w.failure_streak end,
        open_until = case when s.asked and not s.failed and w.failure_streak = 0 then w.last_poll_at
            else w.open_until end,
        last_poll_at = case when s.asked then :now else w.last_poll_at end,
        -- The claim's moment: what LeadByte had done by then, it told.
        last_told_at = case when s.told then w.lease_until - cast(:lease as interval) else w.last_told_at end,
        last_note = coalesce(nullif(s.note, ''), w.last_note),
        not_found_since = s.not_found_since, told_digest = s.told_digest
    from {unnest(_STEP_COLUMNS, "s")}
    where w.lead_id = s.lead_id and w.claim_id = :claim and w.lease_until > :now
    returning w.lead_id
""")

# What is freed passes on in the same statement, and only if it was freed just now, so that doing it again does nothing;
# and only if it was still ours: permits that had lapsed may be somebody else's.
_BEQUEATH = """
    update resolver.claims set permits = permits + :passed_on
    where id = :heir and :passed_on > 0 and exists (select from freed where lease_until > :now)
"""
_CLOSE_CLAIM = text(f"""
    with freed as (delete from resolver.claims where id = :claim returning lease_until) {_BEQUEATH}
""")
_FREE_PERMITS = text(f"""
    with freed as (
        update resolver.claims set permits = :left where id = :claim and permits > :left returning lease_until
    ) {_BEQUEATH}
""")

_JOURNAL = text(f"""
    with s as (select * from {unnest(_REPLY_COLUMNS, "u")}),
    journalled as (
        insert into resolver.replies (lead_id, claim_id, received_at, http_status, body, cut)
        select lead_id, :claim, received_at, http_status, body, cut from s
        returning id, lead_id
    )
    insert into resolver.unpersisted (reply_id, lead_id) select id, lead_id from journalled
""")

_COUNT_POLLS = text("""
    insert into resolver.poll_counts (account_id, bucket, polls, failures)
    select id, date_bin('10 seconds', cast(:now as timestamptz), 'epoch'), :polls, :failures
    from resolver.accounts where name = :account
    on conflict (account_id, bucket) do update
    set polls = poll_counts.polls + excluded.polls, failures = poll_counts.failures + excluded.failures
""")


def settle_polls(connection: Connection, claim: Claim, steps: Sequence[tuple[int, Step]], now: datetime) -> set[int]:
    """Write each lead's step and release it; returns the leads that were still ours."""
    rows = [
        (
            lead,
            step.next_poll_at,
            step.answered or step.failed,
            step.failed,
            step.not_found_since,
            step.told_digest,
            step.note,
            step.told,
        )
        for lead, step in steps
    ]
    settled = execute_many(connection, _SETTLE, _STEP_COLUMNS, rows, claim=claim.id, now=now, lease=LEASE)
    return {lead_id for (lead_id,) in fetch_rows(settled)}


def journal_replies(connection: Connection, claim: Claim, entries: Sequence[JournalEntry]) -> None:
    """Append replies to the journal and to the work list of persistence."""
    if entries:
        execute_many(connection, _JOURNAL, _REPLY_COLUMNS, list_rows(_REPLY_COLUMNS, entries), claim=claim.id)


def count_polls(connection: Connection, account: str, polls: int, failures: int, now: datetime) -> None:
    """Add to the account's count of requests in this ten-second bucket."""
    connection.execute(_COUNT_POLLS, {"account": account, "polls": polls, "failures": failures, "now": now})


def release_permits(connection: Connection, claim: Claim, release: Release, now: datetime) -> bool:
    """Give back the permits that the leads still to be answered don't need; with none left, the claim itself.

    Leads of the claim that were not settled stay leased until the rescue. From when the release was made until this is
    done the claim must get no permits: what is left is set, so that doing it again does nothing. False if permits that
    were to pass on did not: they had lapsed, or this was done before.
    """
    if release.left and not release.freed:
        return True
    statement = _FREE_PERMITS if release.left else _CLOSE_CLAIM
    heirs = connection.execute(statement, {"claim": claim.id, "now": now, **asdict(release)}).rowcount
    return heirs > 0 or not release.passed_on
