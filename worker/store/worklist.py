"""The work list of persistence: which journalled replies wait, which are being attempted, which are parked.

The law this module serves: a reply is persisted in the same transaction that takes it off the work list, with its lead
locked (`worker.store.outcomes`), so persisting twice, or by two workers at once, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, TextClause, text

from worker.store.bulk import fetch_rows, write_values

MOST_ATTEMPTS = 3


class JournalledReply(Struct, frozen=True, gc=False):
    """One reply waiting to be persisted."""

    reply_id: int
    lead_id: int
    received_at: datetime
    http_status: int
    body: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """Replies marked as being attempted, the leads they are about, and the replies parked instead."""

    reply_ids: list[int]
    lead_ids: list[int]
    parked: list[int]


# A reply that was attempted before may have killed its worker: it is taken alone, so that it harms no other.
_ATTEMPT = text("""
    update resolver.unpersisted set attempts = attempts + 1,
        parked_because = case when attempts >= :most_attempts
            then 'persisting it was cut short ' || attempts || ' times in a row' end
    where reply_id = any(array(
        select reply_id from resolver.unpersisted
        where parked_because is null and (attempts > 0) = :suspects
        order by reply_id limit :limit for update skip locked
    ))
    returning reply_id, lead_id, parked_because
""")

# All waiting replies of the locked leads, in the order in which they came: a later one must not overtake. Those of our
# own attempt even if parked: others may have counted attempts while we waited for the locks.
_TAKE = text("""
    with taken as (
        delete from resolver.unpersisted
        where lead_id = any(cast(:lead_ids as bigint[]))
            and (parked_because is null or reply_id = any(cast(:reply_ids as bigint[])))
        returning reply_id
    )
    select r.id, r.lead_id, r.received_at, r.http_status, r.body
    from taken join resolver.replies r on r.id = taken.reply_id order by r.id
""")
# The lead of a parked reply is parked with it: asking again would bring the same reply, and kill three more workers. A
# lead that is locked is just being persisted, so its reply can't be poison after all; one that is final waits for none.
_PARK_LEADS = text("""
    with poisoned as (
        select l.id from resolver.leads l
        where l.id = any(array(select lead_id from resolver.unpersisted where reply_id = any(:reply_ids)))
            and l.resolved_at is null
        for no key update skip locked
    ), parked as (
        update resolver.watches w set next_poll_at = null from poisoned p where w.lead_id = p.id and w.claim_id is null
    )
    update resolver.leads l set state_reason = :reason from poisoned p where l.id = p.id
""")
_UNPARK = text("""
    update resolver.unpersisted set attempts = 0, parked_because = null
    where lead_id = any(:lead_ids) and parked_because is not null
""")
_TAKE_PARKED = text("delete from resolver.unpersisted where lead_id = any(:lead_ids) and parked_because is not null")
_JOURNAL = text("""
    select r.id, r.lead_id, r.received_at, r.http_status, r.body from resolver.replies r
    where r.lead_id = any(:lead_ids) and not exists (select from resolver.unpersisted u where u.reply_id = r.id)
    order by r.id
""")


def attempt_replies(connection: Connection, limit: int, *, suspects: bool = False) -> Attempt:
    """Mark waiting replies as being attempted (to be committed before they are).

    One that was cut short MOST_ATTEMPTS times is parked instead, and its lead with it.
    """
    values = {"limit": limit, "suspects": suspects, "most_attempts": MOST_ATTEMPTS}
    rows = fetch_rows(connection.execute(_ATTEMPT, values))
    parked = [reply_id for reply_id, _, because in rows if because is not None]
    if parked:
        why = f"parked: persisting a reply was cut short {MOST_ATTEMPTS} times in a row; `redrive` tries again"
        connection.execute(_PARK_LEADS, {"reply_ids": parked, "reason": why})
    attempted = [(reply_id, lead_id) for reply_id, lead_id, because in rows if because is None]
    return Attempt([reply_id for reply_id, _ in attempted], sorted({lead_id for _, lead_id in attempted}), parked)


def unpark_replies(connection: Connection, lead_ids: Sequence[int]) -> None:
    """Try again to persist the parked replies of these leads."""
    connection.execute(_UNPARK, {"lead_ids": list(lead_ids)})


def take_replies(connection: Connection, lead_ids: Sequence[int], attempted: Sequence[int]) -> list[JournalledReply]:
    """Take the waiting replies of these leads off the work list, oldest first."""
    values = {"lead_ids": write_values(lead_ids), "reply_ids": write_values(attempted)}
    return _read_replies(connection, _TAKE, values)


def take_parked_replies(connection: Connection, lead_ids: Sequence[int]) -> None:
    """Take the parked replies of these leads off the work list: their journal is about to be read anew, as a whole."""
    connection.execute(_TAKE_PARKED, {"lead_ids": list(lead_ids)})


def read_journal(connection: Connection, lead_ids: Sequence[int]) -> list[JournalledReply]:
    """All replies about these leads that are persisted or being persisted, oldest first."""
    return _read_replies(connection, _JOURNAL, {"lead_ids": list(lead_ids)})


def _read_replies(connection: Connection, statement: TextClause, values: Mapping[str, object]) -> list[JournalledReply]:
    return [JournalledReply(*row) for row in fetch_rows(connection.execute(statement, values))]
