"""Claiming due leads for polling, under their account's budget.

A claim is a short transaction of its own: it takes the leads (a lease), a share of the account's concurrency (permits),
and moments to send the first of them at, or as many of a slow budget as have permits; `worker.store.moments` reserves
the others just in time. HTTP happens with nothing locked; `worker.store.settling` writes down what came of it,
`worker.store.handing_over` ends a run's turn. Leads that may have killed their workers: `worker.store.suspects`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, text

from worker.domain.decide import PolledLead
from worker.domain.lifecycle import STATES
from worker.store.accounts import PauseKind
from worker.store.budget import TAKE_SLOTS, Budget, count_left_free, find_slots, lock_if_askable
from worker.store.bulk import fetch_rows
from worker.store.leases import LEASE
from worker.store.permits import count_permits

# A claim that got the last free permit must not hold a thousand leads that could be asked about by others.
LEADS_A_PERMIT = 25
# Leases lost in a row, by which a lead may have killed its workers. Once is nobody's fault: every worker that is killed
# leaves a whole batch of such leads. At three `worker.store.rescue` parks it.
SUSPECT_CRASHES = 2
PROBE_INTERVAL = timedelta(minutes=1)  # after a refused key
# A pause whose time is up lets one request probe whether the trouble is over, and is prolonged by this, lest others
# probe as well meanwhile. A pause of another kind ends by the clock, or not at all.
PROBE_HOLDS: Mapping[str | None, timedelta] = {
    PauseKind.KEY: PROBE_INTERVAL,
    PauseKind.THROTTLED: timedelta(seconds=20),
    PauseKind.TROUBLE: timedelta(seconds=20),
}


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

    `gap`: the time between two of their moments. `next_in`: from when it was made until the budget bears another.
    `borne`: how many requests LeadByte bore at once then, of all who ask.

    `probe_until` set: it was made under a pause whose time was up, to see whether the trouble is over; meanwhile the
    pause has been prolonged until then.
    """

    id: int
    permits: int
    leads: tuple[ClaimedLead, ...]
    gap: timedelta = timedelta(0)
    probe_until: datetime | None = None
    next_in: timedelta = timedelta(0)
    borne: int = 1


@dataclass(frozen=True, slots=True)
class Spent:
    """No claim: all that the budget bears in the near future is given out; `next_in`: until it bears more."""

    next_in: timedelta


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims.

    `run`: of polling; until it hands the account over, no other run claims of it. None: this is all it claims, and it
    waits for no run. `permits`: what it holds already by other claims, and these leads may share. `room`: how many of
    these leads could be asked about at once under those: they get their moments with the claim. `permit_lease`: for how
    long the permits are its own, unless they are renewed (`worker.permits`).
    """

    run: int | None = None
    permits: int = 0
    room: int = 0
    permit_lease: timedelta = LEASE


OPEN_CLAIM = text("""
    insert into resolver.claims (id, account_id, permits, lease_until, run) overriding system value
    values (:claim, :account, :permits, :until, :run)
""")

# `= any(array(subselect))` makes Postgres run the subselect once and fetch its rows by primary key. The usual
# `update … from (subselect)` fell into a sequential scan at a hundred thousand pending rows. SKIP LOCKED: rows that
# another transaction holds are somebody else's business.
# Half from each end of what is due: after a day's outage the backlog shrinks, and a fresh lead need not wait for it.
DUE = """
    select lead_id from resolver.watches
    where account_id = :account and claim_id is null and next_poll_at <= :now
"""
_UNSUSPECTED = f"{DUE} and crashes < {SUSPECT_CRASHES}"
CLAIM = """
    update resolver.watches w set claim_id = :claim, lease_until = :until
    from resolver.leads l
    where w.lead_id = any({}) and l.id = w.lead_id
    returning w.lead_id, w.queue_id, l.state, w.watched_since, w.failure_streak, w.not_found_since, w.told_digest,
        w.hurry_since
"""
_CLAIM_LEADS = text(
    CLAIM.format(f"""
        array({_UNSUSPECTED} order by next_poll_at limit :oldest for update skip locked)
        || array({_UNSUSPECTED} order by next_poll_at desc limit :newest for update skip locked)
    """)
)


def claim_due_leads(
    connection: Connection,
    account: str,
    budget: Budget,
    now: datetime,
    limit: int,
    claimant: Claimant = Claimant(),
) -> Claim | Spent | None:
    """Claim up to `limit` due leads of the account, as far as its budget and pause allow; None if there are none.

    `Spent` where the budget bears none before a moment that is known.

    Args:
        connection: in a transaction of its own, to be committed at once.
        account: its name.
        budget: of the account, over all workers.
        now: by the database's clock.
        limit: of leads.
        claimant: who claims, and what it has of the account already.

    Raises:
        DatabaseContended: somebody else has locked the account.
    """
    row = lock_if_askable(connection, account, budget, now)
    if row is None:
        return None
    held, is_anothers = count_permits(connection, row.id, now, claimant.run)
    if is_anothers:
        return None
    held += count_left_free(row, now)
    slots = find_slots(row, budget, held, now)
    if slots.most <= 0:
        return Spent(slots.find_next(0, now))
    # Fewer than none: more are given out than may be: LeadByte bears fewer, or somebody waits for one, see `slots`.
    if slots.permits < 0 or slots.permits + claimant.permits <= 0:
        return None
    hold = PROBE_HOLDS.get(row.pause_kind)
    probe_until = now + hold if hold is not None else None
    most = min(limit, slots.most, (slots.permits + claimant.permits) * LEADS_A_PERMIT)
    values = {"account": row.id, "claim": row.claim, "now": now, "until": now + LEASE}
    leads = _take_leads(connection, values, 1 if probe_until is not None else most)
    if not leads:
        return None
    permits = min(slots.permits, len(leads))
    connection.execute(
        OPEN_CLAIM, {**values, "permits": permits, "until": now + claimant.permit_lease, "run": claimant.run}
    )
    # A probe has its moment at once, since no other may be reserved under the pause.
    moments = 1 if probe_until is not None else min(permits + claimant.room, len(leads), slots.soon)
    taken = {"next_slot_at": slots.start + moments * slots.gap, "requests_today": row.requests_today + moments}
    connection.execute(TAKE_SLOTS, {**taken, "account": row.id, "now": now, "paused_until": probe_until})
    waits = [slots.start - now + n * slots.gap if n < moments else None for n in range(len(leads))]
    claimed = tuple(map(read_claimed, _alternate(leads), waits))
    next_in, borne = slots.find_next(moments, now), held + slots.permits
    return Claim(row.claim, permits, claimed, slots.gap, probe_until, next_in, borne)


def _take_leads(connection: Connection, values: Mapping[str, object], most: int) -> Sequence[tuple[Any, ...]]:
    # The odd one from either end: a small budget claims single leads, and the fresh would starve behind the old.
    oldest = most // 2 + most % 2 * random.getrandbits(1)
    return fetch_rows(connection.execute(_CLAIM_LEADS, {**values, "oldest": oldest, "newest": most - oldest}))


def _alternate(rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
    """Those recorded last and those recorded first in turns, from either end by chance; rows come in any order.

    What a turn leaves unasked is claimed anew: were the first always of one end, the other would starve where turns are
    short. And somebody may wait for a lead recorded just now: it does not stand behind half of the claim.
    """
    ordered = deque(sorted(rows, key=itemgetter(0), reverse=bool(random.getrandbits(1))))
    return [ordered.popleft() if number % 2 else ordered.pop() for number in range(len(rows))]


def read_claimed(row: tuple[Any, ...], send_after: timedelta | None) -> ClaimedLead:
    """A row of CLAIM, with its moment."""
    lead_id, queue_id, state, since, streak, not_found_since, digest, hurry_since = row
    watch = PolledLead(STATES[state], since, streak, not_found_since, digest, hurry_since is not None)
    return ClaimedLead(lead_id, queue_id, watch, send_after)
