"""Forgetting old replies of leads that are closed: in bounded steps, locking nobody out.

A lead whose journal was cut is marked: what its forgotten replies told is known from the recorded facts alone, so a
replay folds the replies that are left on top of those (`worker.results`).
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

MOST_FORGOTTEN = 2_000  # replies in one sweep, which is 17 million a day

# Locked as persisting and replaying lock it: neither ever sees a journal that is cut without seeing its mark. A lead
# that somebody holds is left for the next sweep, as are replies that wait to be persisted or are parked.
_FORGET = text("""
    with old as (
        select r.id, r.lead_id from resolver.replies r join resolver.leads l on l.id = r.lead_id
        where r.received_at < :before and (l.resolved_at is not null or l.state = 'abandoned')
            and not exists (select from resolver.unpersisted u where u.reply_id = r.id)
        order by r.received_at limit :most for no key update of l skip locked
    ), marked as (
        update resolver.outcomes o set journal_cut_at = :now from old
        where o.lead_id = old.lead_id and o.journal_cut_at is null
    )
    delete from resolver.replies where id = any(array(select id from old))
""")


def forget_old_replies(connection: Connection, before: datetime, now: datetime, *, most: int = MOST_FORGOTTEN) -> int:
    """Delete the oldest replies of final and abandoned leads received before a moment; returns how many."""
    return connection.execute(_FORGET, {"before": before, "now": now, "most": most}).rowcount
