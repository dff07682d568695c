"""Re-checks: final leads that are looked at again, since returns and edits of money arrive for days.

A row in `rechecks` says when; while a lead is being looked at again it has a watch as any other lead. It is dated ahead
before it is asked about, so one that is lost on the way is looked at again next time. Neighbours: `worker.scheduling`
starts them, `worker.polling` ends them, `worker.results` and `worker.rescue` enrol leads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.store.bulk import execute_many, unnest
from worker.store.concluding import unwatch_leads
from worker.store.db import read_clock

START_EVERY = timedelta(seconds=10)
AT_ONCE = 1_000  # rows that a sweep enrols or forgets


@dataclass(frozen=True, slots=True)
class Recheck:
    """How final leads are looked at again: for how long, how often, at most on which share of an account's requests."""

    lasts: timedelta
    every: timedelta
    share: float


_ENROL = """
    insert into resolver.rechecks (lead_id, account_id, next_recheck_at, recheck_until, told_digest)
    select l.id, l.account_id, greatest(:now, {since} + cast(:every as interval) * (0.9 + 0.2 * random())),
        l.resolved_at + cast(:lasts as interval), coalesce(s.told_digest, w.told_digest)
    from {given} join resolver.leads l on l.id = s.lead_id left join resolver.watches w on w.lead_id = l.id
    where l.resolved_at > cast(:now as timestamptz) - cast(:lasts as interval)
    order by l.id  -- one order for everybody who enrols
    on conflict (lead_id) do update set recheck_until = excluded.recheck_until,
        told_digest = coalesce(excluded.told_digest, rechecks.told_digest)
    where (rechecks.recheck_until, rechecks.told_digest) is distinct from
        (excluded.recheck_until, coalesce(excluded.told_digest, rechecks.told_digest))
"""
_DIGEST_COLUMNS = {"lead_id": "bigint", "told_digest": "bigint"}
_GIVEN = unnest(_DIGEST_COLUMNS, "s")
_ENROL_FINALS = text(_ENROL.format(since="cast(:now as timestamptz)", given=_GIVEN))

# Walks through the leads by the moment of their verdict; how far it has come is a date among the duties.
_READ_MARK = text("select at from resolver.ticks where duty = :duty")
_NEXT_FINALS = text("""
    select id, resolved_at from resolver.leads
    where resolved_at >= :since and resolved_at <= :now order by resolved_at limit :most
""")
_MOVE_MARK = text("""
    insert into resolver.ticks (duty, at) values (:duty, :at) on conflict (duty) do update set at = :at
""")
_ENROL_LATE = text(_ENROL.format(since="l.resolved_at", given=_GIVEN))
_MARK = "enrol for re-checks of "
_FORGET_MARKS = text(f"delete from resolver.ticks where starts_with(duty, '{_MARK}')")
_FORGET_ALL = text(f"""
    delete from resolver.rechecks where lead_id = any(array(select lead_id from resolver.rechecks limit {AT_ONCE}))
""")

_COUNT_STARTED = text("""
    select count(*) from resolver.watches w join resolver.accounts a on a.id = w.account_id
    where a.name = :account and w.is_recheck
""")
_DUE = """
    select r.lead_id from resolver.rechecks r join resolver.accounts a on a.id = r.account_id
    where a.name = :account and r.next_recheck_at <= :now
"""
_FORGET_OVER = text(f"""
    delete from resolver.rechecks
    where lead_id = any(array({_DUE} and r.recheck_until < :now limit {AT_ONCE} for update of r skip locked))
""")
# A trickle: each becomes due `gap` after the one before.
_START = text(f"""
    with started as (
        update resolver.rechecks set next_recheck_at =
            cast(:now as timestamptz) + cast(:every as interval) * (0.9 + 0.2 * random())
        where lead_id = any(array({_DUE}
            and not exists (select from resolver.watches w where w.lead_id = r.lead_id)
            order by r.next_recheck_at limit :most for update of r skip locked))
        returning lead_id, told_digest
    ), numbered as (select *, row_number() over () - 1 as position from started)
    insert into resolver.watches
        (lead_id, account_id, queue_id, watched_since, next_poll_at, told_digest, is_recheck)
    select l.id, l.account_id, l.queue_id, :now, :now + cast(:gap as interval) * n.position, n.told_digest, true
    from numbered n join resolver.leads l on l.id = n.lead_id where l.resolved_at is not null
    on conflict (lead_id) do nothing
    returning lead_id
""")

_KEEP_DIGESTS = text(f"""
    update resolver.rechecks r set told_digest = s.told_digest
    from {_GIVEN} where r.lead_id = s.lead_id and r.told_digest is distinct from s.told_digest
""")
_FIND_STARTED = text("select lead_id from resolver.watches where lead_id = any(:lead_ids) and is_recheck")
_GIVE_UP = text("delete from resolver.rechecks where lead_id = any(:lead_ids)")
_COUNT = text("""
    select count(*) as leads, count(*) filter (where next_recheck_at <= :now) as due from resolver.rechecks
""")


def enrol_finals(
    connection: Connection,
    lead_ids: Sequence[int],
    digests: Mapping[int, int | None],
    recheck: Recheck,
    now: datetime,
) -> None:
    """Look again at these leads, which have just become final.

    `digests`: of what they were told last, where their watch has ended already; kept from the others' watches.
    """
    if lead_ids:
        rows = [(lead_id, digests.get(lead_id)) for lead_id in lead_ids]
        execute_many(connection, _ENROL_FINALS, _DIGEST_COLUMNS, rows, **_say(recheck), now=now)


def enrol_late(connection: Connection, recheck: Recheck, now: datetime) -> int:
    """Enrol the next leads that became final before re-checks were switched on; returns how many were looked at."""
    duty = f"{_MARK}{recheck.lasts}"
    mark = connection.execute(_READ_MARK, {"duty": duty}).scalar_one_or_none() or now - recheck.lasts
    found = connection.execute(_NEXT_FINALS, {"since": mark, "now": now, "most": AT_ONCE}).all()
    if not found:
        return 0
    rows = [(row.id, None) for row in found]
    execute_many(connection, _ENROL_LATE, _DIGEST_COLUMNS, rows, **_say(recheck), now=now)
    # LeadByte stamps whole seconds: should more leads than a page share one, the walk must not stand still.
    last = found[-1].resolved_at
    connection.execute(_MOVE_MARK, {"duty": duty, "at": last if last > mark else last + timedelta(microseconds=1)})
    return len(found)


def forget_rechecks(connection: Connection) -> None:
    """Re-checks are switched off: forget those that were planned, a page at a time."""
    connection.execute(_FORGET_MARKS)
    connection.execute(_FORGET_ALL)


def start_rechecks(connection: Connection, account: str, most: int, gap: timedelta, every: timedelta) -> int:
    """Watch up to `most` leads whose re-check is due, less those being looked at already; returns how many."""
    now = read_clock(connection)
    connection.execute(_FORGET_OVER, {"account": account, "now": now})
    most -= connection.execute(_COUNT_STARTED, {"account": account}).scalar_one()
    if most <= 0:
        return 0
    values = {"account": account, "now": now, "most": most, "gap": gap, "every": every}
    return len(connection.execute(_START, values).all())


def end_rechecks(connection: Connection, told: Sequence[tuple[int, int | None]]) -> None:
    """These final leads have been looked at: keep the digest of what was told, and watch them no longer."""
    if told:
        execute_many(connection, _KEEP_DIGESTS, _DIGEST_COLUMNS, told)
        unwatch_leads(connection, [lead_id for lead_id, _ in told])


def give_up_rechecks(connection: Connection, lead_ids: Sequence[int]) -> set[int]:
    """Never look again at those among these leads that are being re-checked; returns them."""
    found = list(connection.execute(_FIND_STARTED, {"lead_ids": list(lead_ids)}).scalars())
    if found:
        connection.execute(_GIVE_UP, {"lead_ids": found})
        unwatch_leads(connection, found)
    return set(found)


def count_rechecks(connection: Connection, now: datetime) -> tuple[int, int]:
    """How many leads will be looked at again, and how many of them are due."""
    row = connection.execute(_COUNT, {"now": now}).one()
    return row.leads, row.due


def _say(recheck: Recheck) -> dict[str, object]:
    return {name: value for name, value in asdict(recheck).items() if name != "share"}
