"""What an account is asked to bear, as a row: see `worker.domain.manners`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from worker.domain.manners import Pressure
from worker.store.accounts import STOPS_ALL


@dataclass(frozen=True, slots=True)
class Recorded:
    """The pressure on an account, and until when it is paused, if it is.

    A budget of the day that is used up is no pause here: it has counted what has its moment already.
    """

    pressure: Pressure
    paused_until: datetime | None


# Without a lock: two workers that step at once take one step between them, which is as good.
_READ = text(f"""
    select rate_share, strain, strained_in_a_row, trips, pressure_changed_at,
        case when {STOPS_ALL} then paused_until end as paused_until
    from resolver.accounts where name = :account
""")
_SAVE = text("""
    update resolver.accounts set rate_share = :share, strain = :strain, strained_in_a_row = :strained_in_a_row,
        trips = :trips, pressure_changed_at = :changed_at
    where name = :account
""")


def read_pressure(connection: Connection, account: str) -> Recorded:
    """As it is now."""
    row = connection.execute(_READ, {"account": account}).one()
    pressure = Pressure(row.rate_share, row.strain, row.strained_in_a_row, row.trips, row.pressure_changed_at)
    return Recorded(pressure, row.paused_until)


def save_pressure(connection: Connection, account: str, pressure: Pressure) -> None:
    """From now on."""
    connection.execute(_SAVE, {"account": account, **asdict(pressure)})
