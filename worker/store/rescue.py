"""Taking back what dead workers held, and forgetting what nobody needs any more.

A lead that lost its lease three times in a row has killed its workers, as far as anybody can tell: it is parked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from worker.store.leases import LONGEST_LEASE
from worker.store.rechecks import give_up_rechecks

MOST_CRASHES = 3


@dataclass(frozen=True, slots=True)
class Rescued:
    """What a sweep found: leads whose lease had run out, and those among them parked as poison."""

    leads: int
    parked: int


# A lease further ahead than any was ever given dates from before the clock was set back.
_RUN_OUT = "(lease_until <= :now or lease_until > :now + :longest_lease)"

# The leads are locked with their watches, and neither is waited for: others lock the one or the other first.
_RESCUE = text(f"""
    with lost as (
        select w.lead_id from resolver.watches w join resolver.leads l on l.id = w.lead_id
        where w.claim_id is not null and {_RUN_OUT}
        limit 5000 for update of w skip locked for no key update of l skip locked
    )
    update resolver.watches w
    set claim_id = null, lease_until = null, crashes = w.crashes + 1,
        next_poll_at = case when w.crashes + 1 >= :most_crashes then null else :now end
    from lost where w.lead_id = lost.lead_id
    returning w.lead_id, w.next_poll_at is null as parked
""")

_EXPLAIN_PARKED = text("update resolver.leads set state_reason = :reason where id = any(:lead_ids)")
_FORGET_CLAIMS = text(f"delete from resolver.claims where {_RUN_OUT}")
_FORGET_COUNTS = text("delete from resolver.poll_counts where bucket < :now - interval '1 day'")


def rescue_expired_leases(connection: Connection, now: datetime) -> Rescued:
    """Make leads due again whose lease has run out; park those that did so MOST_CRASHES times in a row."""
    values = {"now": now, "longest_lease": LONGEST_LEASE, "most_crashes": MOST_CRASHES}
    rows = connection.execute(_RESCUE, values).all()
    poison = [row.lead_id for row in rows if row.parked]
    # A final lead has its verdict, and nobody waits for another: it is looked at no more.
    parked = sorted(set(poison) - give_up_rechecks(connection, poison)) if poison else []
    if parked:
        reason = f"parked: polling it was cut short {MOST_CRASHES} times in a row; `lead-resolver redrive` tries again"
        connection.execute(_EXPLAIN_PARKED, {"lead_ids": parked, "reason": reason})
    return Rescued(leads=len(rows), parked=len(parked))


def forget_old_rows(connection: Connection, now: datetime) -> None:
    """Drop expired claims and counts older than a day."""
    connection.execute(_FORGET_CLAIMS, {"now": now, "longest_lease": LONGEST_LEASE})
    connection.execute(_FORGET_COUNTS, {"now": now})
