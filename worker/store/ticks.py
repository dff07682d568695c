"""Recurring duties, dated in Postgres: whoever comes first after the interval does one, everybody else need not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

# A little less than beat's second, so that one beat alone never finds its own tick too early.
TICK_EVERY = timedelta(milliseconds=700)
SWEEP_EVERY = timedelta(seconds=10)
LEARN_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How long ago the oldest reply came that is not persisted yet, and whether somebody is persisting it now."""

    waited: timedelta = timedelta(0)
    is_attempted: bool = False


_TAKE = text("""
    insert into resolver.ticks (duty, at) values (:duty, :now)
    on conflict (duty) do update set at = :now where ticks.at <= :due_before or ticks.at > :now + interval '1 minute'
    returning true
""")
_UNPERSISTED = text("select exists (select from resolver.unpersisted where parked_because is null)")
_OLDEST = text("""
    select clock_timestamp() - r.received_at as waited, u.attempts > 0 as is_attempted
    from resolver.unpersisted u join resolver.replies r on r.id = u.reply_id
    where u.reply_id = (select min(reply_id) from resolver.unpersisted where parked_because is null)
""")
_LAST = text("select at from resolver.ticks where duty = :duty")


def take_duty(connection: Connection, duty: str, every: timedelta, now: datetime) -> bool:
    """Whether the duty is due; if so it counts as done now. A date in the future (a clock set back) counts as past."""
    return connection.execute(_TAKE, {"duty": duty, "now": now, "due_before": now - every}).first() is not None


def read_last(connection: Connection, duty: str) -> datetime | None:
    """When the duty was last done."""
    at: datetime | None = connection.execute(_LAST, {"duty": duty}).scalar_one_or_none()
    return at


def has_unpersisted(connection: Connection) -> bool:
    """Whether replies wait to be persisted."""
    return bool(connection.execute(_UNPERSISTED).scalar_one())


def read_backlog(connection: Connection) -> Backlog:
    """What waits to be persisted."""
    row = connection.execute(_OLDEST).one_or_none()
    return Backlog() if row is None else Backlog(row.waited, row.is_attempted)
