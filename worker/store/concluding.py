"""The end of a watch: the lead has its verdict, or there is nothing left to ask about it.

What the watch has counted goes to the lead, and what it says of the time to resolve goes to learning. Neighbours:
`worker.store.leads` begins watches, `worker.store.schedules` learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from worker.errors import LeadResolverError
from worker.store.bulk import execute_many, fetch_rows, list_rows, unnest
from worker.store.leads import MOVE_COLUMNS, Move

_ENDED = "lead_id, account_id, watched_since, open_until, last_poll_at, polls, failures, is_recheck, told_digest"

# A lead resolved between the last "not yet" and the verdict, or where LeadByte gives its stamp, within that second. A
# stamp from before the watch began says nothing (the lead was tracked late), and neither does a watch that was never
# answered.
_LEARNED = """
    seen as (
        select gone.account_id, o.campaign_id, gone.watched_since as since,
            case when l.resolved_at = o.processed_at then l.resolved_at
                when l.resolved_at is not null then gone.open_until else gone.last_poll_at end as open_at,
            case when l.resolved_at = o.processed_at and date_trunc('second', l.resolved_at) = l.resolved_at
                then l.resolved_at + interval '1 second' else l.resolved_at end as resolved_at
        from gone join {verdicts} l using (lead_id) left join resolver.outcomes o using (lead_id)
        where gone.polls > gone.failures and not gone.is_recheck
            -- One that was acted on counts its age from there: that tells nothing of how long leads take.
            and not exists (select from resolver.actions a where a.lead_id = gone.lead_id)
    ), learned as (
        insert into resolver.resolutions (account_id, campaign_id, open_age, resolved_age)
        select account_id, campaign_id, greatest(extract(epoch from coalesce(open_at, since) - since), 0),
            extract(epoch from resolved_at - since)
        from seen
        where resolved_at is null or (resolved_at >= since and resolved_at >= coalesce(open_at, since))
    )
"""

_UNWATCH = text(f"""
    with gone as (delete from resolver.watches where lead_id = any(:lead_ids) returning {_ENDED}),
    {_LEARNED.format(verdicts="(select id as lead_id, resolved_at from resolver.leads)")}
    update resolver.leads l set polls = l.polls + gone.polls, failures = l.failures + gone.failures
    from gone where l.id = gone.lead_id and (gone.polls, gone.failures) <> (0, 0)
""")

# As `move_leads` and `unwatch_leads` after each other, but the lead, which has five indexes, is written once. The array
# is named once more wherever rows are looked up, since by a join alone Postgres may choose to read all of a table.
_CONCLUDE = text(f"""
    with s as (select * from {unnest(MOVE_COLUMNS, "u")}),
    gone as (delete from resolver.watches where lead_id = any(cast(:lead_id as bigint[])) returning {_ENDED}),
    {_LEARNED.format(verdicts="s")},
    moved as (
        update resolver.leads l
        set state = s.to_state, state_reason = s.state_reason, resolved_at = s.resolved_at,
            polls = l.polls + coalesce(gone.polls, 0), failures = l.failures + coalesce(gone.failures, 0)
        from s left join gone using (lead_id)
        where l.id = any(cast(:lead_id as bigint[])) and l.id = s.lead_id and l.state = s.from_state
        returning l.id, gone.told_digest
    ),
    noted as (
        insert into resolver.lead_events (lead_id, at, from_state, to_state, cause, reply_id)
        select s.lead_id, :at, s.from_state, s.to_state, s.cause, s.reply_id
        from s join moved on moved.id = s.lead_id
        on conflict (reply_id) do nothing
    )
    select id, told_digest from moved
""")


def conclude_leads(connection: Connection, moves: Sequence[Move], at: datetime) -> dict[int, int | None]:
    """Move these leads, which are locked, to final states, one move each, and end their watches.

    Returns the leads, each with the digest of what it was last told, if it was still watched. LeadResolverError if one
    was not in its `from_state` after all: it must not lose its watch without having its verdict.
    """
    if not moves:
        return {}
    concluded = execute_many(connection, _CONCLUDE, MOVE_COLUMNS, list_rows(MOVE_COLUMNS, moves), at=at)
    digests: dict[int, int | None] = dict(fetch_rows(concluded))
    if len(digests) < len(moves):
        raise LeadResolverError("leads were moved by somebody else although they are locked; nothing was recorded")
    return digests


def unwatch_leads(connection: Connection, lead_ids: Sequence[int]) -> None:
    """There is nothing left to ask about these leads."""
    if lead_ids:
        connection.execute(_UNWATCH, {"lead_ids": list(lead_ids)})
