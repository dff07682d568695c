"""Taking back what dead workers held, and forgetting what nobody needs any more.

A lead that lost its lease three times in a row has killed its workers, as far as anybody can tell: it is parked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

MOST_CRASHES = 3


@dataclass(frozen=True, slots=True)
class Rescued:
    """What a sweep found: leads whose lease had run out, and those among them parked as poison."""

    leads: int
    parked: int


_RESCUE = text("""
    with lost as (
        select lead_id from resolver.watches where claim_id is not null and lease_until <= :now
        limit 5000 for update skip locked
    )
    update resolver.watches w
    set claim_id = null, lease_until = null, crashes = w.crashes + 1,
        next_poll_at = case when w.crashes + 1 >= :most_crashes then null else :now end
    from lost where w.lead_id = lost.lead_id
    returning w.lead_id, w.next_poll_at is null as parked
""")

_EXPLAIN_PARKED = text("update resolver.leads set state_reason = :reason where id = any(:lead_ids)")
_FORGET_CLAIMS = text("delete from resolver.claims where lease_until <= :now - interval '1 minute'")
_FORGET_COUNTS = text("delete from resolver.poll_counts where bucket < :now - interval '1 day'")


def rescue_expired_leases(connection: Connection, now: datetime) -> Rescued:
    """Make leads due again whose lease has run out; park those that did so MOST_CRASHES times in a row."""
    rows = connection.execute(_RESCUE, {"now": now, "most_crashes": MOST_CRASHES}).all()
    parked = [row.lead_id for row in rows if row.parked]
    if parked:
        reason = f"parked: polling it was cut short {MOST_CRASHES} times in a row; `lead-resolver redrive` tries again"
        connection.execute(_EXPLAIN_PARKED, {"lead_ids": parked, "reason": reason})
    return Rescued(leads=len(rows), parked=len(parked))


def forget_old_rows(connection: Connection, now: datetime) -> None:
    """Drop claims long expired and counts older than a day."""
    connection.execute(_FORGET_CLAIMS, {"now": now})
    connection.execute(_FORGET_COUNTS, {"now": now})
