"""Claiming due leads for polling, under their account's budget.

A claim is a short transaction of its own: it takes the leads (a lease), a share of the account's concurrency (permits),
and moments to send the first of them at (the pacer); `worker.store.moments` reserves the others just in time. HTTP
happens with nothing locked; `worker.store.settling` writes down what came of it. The pacer is the virtual scheduling
form of the generic cell rate algorithm (ITU-T I.371): it lets requests out one by one at the budget's rhythm, so no
window of time ever sees more than the budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Row, text

from worker.domain.decide import PolledLead
from worker.domain.lifecycle import STATES
from worker.domain.manners import LEAST_SHARE
from worker.store.accounts import PauseKind, pause_account

# Longer than the longest batch: PACE_HORIZON and a delay of 10 s to send in, a deadline (at most 30 s), the settling.
LEASE = timedelta(seconds=60)
# A claim takes as many leads as the budget bears in this time, so that they are asked well within their lease.
PACE_HORIZON = timedelta(seconds=5)
# Moments to send at are reserved at most this far ahead, and only for requests that have room to leave: a moment that
# passes unused is lost to the budget, one used later breaks it, and one reserved before a pause falls into the pause.
MOMENTS_AHEAD = timedelta(seconds=0.3)
# A claim that got the last free permit must not hold a thousand leads that could be asked about by others.
LEADS_A_PERMIT = 25
# Requests arrive a few milliseconds sooner or later than they were sent: at the whole rate a second would now and then
# see one too many.
ROOM_FOR_JITTER = 0.97
SUSPECT_CRASHES = 2  # leases lost in a row; at three `worker.store.rescue` parks the lead
PROBE_INTERVAL = timedelta(minutes=1)  # after a refused key
# A pause whose time is up lets one request probe whether the trouble is over, and is prolonged by this, lest others
# probe as well meanwhile. A pause of another kind ends by the clock, or not at all.
PROBE_HOLDS: Mapping[str | None, timedelta] = {
    PauseKind.KEY: PROBE_INTERVAL,
    PauseKind.THROTTLED: timedelta(seconds=20),
    PauseKind.TROUBLE: timedelta(seconds=20),
}


@dataclass(frozen=True, slots=True)
class Budget:
    """What one account may be asked, over all workers together: a second, at once, and a day (UTC; None: any number).

    Of the first two only the share is used that LeadByte bears just now, see `worker.domain.manners`.
    """

    requests_per_second: float
    concurrency: int
    requests_per_day: int | None = None


class ClaimedLead(Struct, frozen=True, gc=False):
    """A lead this worker alone may ask about until the lease runs out.

    `send_after`: how long from now to hold the request; None: no moment is reserved for it yet.
    """

    lead_id: int
    queue_id: str
    watch: PolledLead
    send_after: timedelta | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch of leads under one lease. `id` is the fencing token; `permits` requests may be under way at once.

    `gap`: the time between two of their moments.

    `probe_until` set: it was made under a pause whose time was up, to see whether the trouble is over; meanwhile the
    pause has been prolonged until then.
    """

    id: int
    permits: int
    leads: tuple[ClaimedLead, ...]
    gap: timedelta = timedelta(0)
    probe_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """Moments to send at: the first, the time between two, how many at most; and permits to give out.

    `soon`: how many of the moments are so near that they may be reserved now. Fewer permits than none: more are given
    out than may be.
    """

    start: datetime
    gap: timedelta
    most: int
    permits: int
    soon: int


# The row lock makes claims of one account take turns, which is what makes its budget hold over all workers.
LOCK_ACCOUNT = text("""
    select id, next_slot_at, paused_until, pause_kind, rate_share,
        case when requests_day = (cast(:now as timestamptz) at time zone 'UTC')::date then requests_today else 0
            end as requests_today,
        nextval('resolver.claims_id_seq') as claim
    from resolver.accounts where name = :name for update
""")

# A statement of its own, since it must see the claim that the lock was waited for: a subselect of the locking statement
# would go by what was there before it waited.
_COUNT_PERMITS = text("""
    select coalesce(sum(permits), 0) from resolver.claims
    where account_id = :account and lease_until > :now and lease_until <= :until
""")

_OPEN_CLAIM = text("""
    insert into resolver.claims (id, account_id, permits, lease_until) overriding system value
    values (:claim, :account, :permits, :until)
""")

# `= any(array(subselect))` makes Postgres run the subselect once and fetch its rows by primary key. The usual
# `update … from (subselect)` fell into a sequential scan at a hundred thousand pending rows. SKIP LOCKED: rows that
# another transaction holds are somebody else's business.
# A lead that lost its lease twice in a row may have killed its workers: it is claimed alone, so that it harms no other.
# Once is nobody's fault: every worker that is killed leaves a whole batch of such leads.
# Half from each end of what is due: after a day's outage the backlog shrinks, and a fresh lead need not wait for it.
_DUE = f"""
    select lead_id from resolver.watches
    where account_id = :account and claim_id is null and next_poll_at <= :now
        and (crashes >= {SUSPECT_CRASHES}) = :suspects
"""
_CLAIM_LEADS = text(f"""
    update resolver.watches w set claim_id = :claim, lease_until = :until
    from resolver.leads l
    where w.lead_id = any(
        array({_DUE} order by next_poll_at limit :oldest for update skip locked)
        || array({_DUE} order by next_poll_at desc limit :newest for update skip locked)
    ) and l.id = w.lead_id
    returning w.lead_id, w.queue_id, l.state, w.watched_since, w.failure_streak, w.not_found_since, w.told_digest,
        w.hurry_since
""")

TAKE_SLOTS = text("""
    update resolver.accounts
    set next_slot_at = :next_slot_at, paused_until = :paused_until,
        pause_kind = case when cast(:paused_until as timestamptz) is not null then pause_kind end,
        pause_reason = case when cast(:paused_until as timestamptz) is not null then pause_reason end,
        requests_day = (cast(:now as timestamptz) at time zone 'UTC')::date, requests_today = :requests_today
    where id = :account
""")


def claim_due_leads(
    connection: Connection,
    account: str,
    budget: Budget,
    now: datetime,
    limit: int,
    *,
    ours: int = 0,
    room: int = 0,
    suspects: bool = False,
    permit_lease: timedelta = LEASE,
) -> Claim | None:
    """Claim up to `limit` due leads of the account, as far as its budget and pause allow; None if there are none.

    Args:
        connection: in a transaction of its own, to be committed at once.
        account: its name.
        budget: of the account, over all workers.
        now: by the database's clock.
        limit: of leads.
        ours: permits that the caller holds already, by other claims: these leads may share them.
        room: how many of these leads could be asked about at once under those: they get their moments here.
        suspects: claim one lead that lost its lease SUSPECT_CRASHES times, instead of ordinary ones.
        permit_lease: for how long the permits are ours, unless they are renewed (`worker.permits`).
    """
    row = connection.execute(LOCK_ACCOUNT, {"name": account, "now": now}).one_or_none()
    if row is None or (row.paused_until is not None and row.paused_until > now):
        return None
    # One lease further ahead than any can be is of a clock that has been set back since.
    held = connection.execute(_COUNT_PERMITS, {"account": row.id, "now": now, "until": now + 2 * LEASE}).scalar_one()
    if budget.requests_per_day is not None and row.requests_today >= budget.requests_per_day:
        pause_until_tomorrow(connection, account, budget.requests_per_day, now)
        return None
    slots = find_slots(row, budget, held, now)
    if slots.permits < 0:
        return None  # more are given out than may be: LeadByte bears fewer, or somebody waits for one, see `slots`
    if slots.most <= 0 or slots.permits + ours <= 0:
        return None
    hold = PROBE_HOLDS.get(row.pause_kind)
    probe_until = now + hold if hold is not None else None
    most = 1 if suspects or probe_until is not None else min(limit, slots.most, (slots.permits + ours) * LEADS_A_PERMIT)
    values = {"account": row.id, "claim": row.claim, "now": now, "until": now + LEASE, "suspects": suspects}
    leads = connection.execute(_CLAIM_LEADS, {**values, "oldest": most - most // 2, "newest": most // 2}).all()
    if not leads:
        return None
    permits = min(slots.permits, len(leads))
    connection.execute(_OPEN_CLAIM, {**values, "permits": permits, "until": now + permit_lease})
    # A probe has its moment at once, since no other may be reserved under the pause.
    moments = min(permits + room, len(leads), slots.soon) if probe_until is None else 1
    taken = {"next_slot_at": slots.start + moments * slots.gap, "requests_today": row.requests_today + moments}
    connection.execute(TAKE_SLOTS, {**taken, "account": row.id, "now": now, "paused_until": probe_until})
    waits = [slots.start - now + n * slots.gap if n < moments else None for n in range(len(leads))]
    return Claim(row.claim, permits, tuple(map(_read_lead, leads, waits)), slots.gap, probe_until)


def find_slots(row: Row[tuple[object, ...]], budget: Budget, held: int, now: datetime) -> Slots:
    """What the budget leaves, with `held` permits given out; `row` is of LOCK_ACCOUNT."""
    rate = budget.requests_per_second * row.rate_share
    gap = timedelta(microseconds=math.ceil(1e6 / rate))  # rounded to the nearest, it could be shorter than the budget's
    # Nobody reserves further ahead than this, at the slowest; a later slot is of a clock that has been set back since.
    furthest = now + PACE_HORIZON + timedelta(seconds=2 / (budget.requests_per_second * LEAST_SHARE))
    start = max(now, row.next_slot_at) if row.next_slot_at <= furthest else now
    most = _count_moments(now + PACE_HORIZON - start, rate)
    if budget.requests_per_day is not None:
        most = min(most, budget.requests_per_day - row.requests_today)
    soon = min(most, _count_moments(now + MOMENTS_AHEAD - start, rate))
    concurrency = max(1, round(budget.concurrency * row.rate_share))
    # All that are free go to who comes first: one process can use them all, and the others persist meanwhile.
    return Slots(start, gap, most, concurrency - held, soon)


def _count_moments(ahead: timedelta, rate: float) -> int:
    return int(ahead.total_seconds() * rate) + 1 if ahead >= timedelta(0) else 0


def pause_until_tomorrow(connection: Connection, account: str, most: int, now: datetime) -> None:
    """Ask nothing more today: `most` requests were all there were to be."""
    midnight = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)
    reason = f"today's budget of {most} requests is used up (UTC)"
    pause_account(connection, account, PauseKind.BUDGET, reason, midnight)


def _read_lead(row: Sequence[Any], send_after: timedelta | None) -> ClaimedLead:
    # By place: by name, each column would be looked up.
    lead_id, queue_id, state, since, streak, not_found_since, digest, hurry_since = row
    watch = PolledLead(STATES[state], since, streak, not_found_since, digest, hurry_since is not None)
    return ClaimedLead(lead_id, queue_id, watch, send_after)
