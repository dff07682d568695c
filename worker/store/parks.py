"""The calls that LeadByte does not permit an account's key, for the time being."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from worker.store.claims import PROBE_INTERVAL


@dataclass(frozen=True, slots=True)
class Parks:
    """Kinds of calls (`update`, `process`) that must not be made now, and those of which one may probe."""

    closed: frozenset[str]
    probing: frozenset[str]


_READ = text("select kind, probe_at from resolver.action_parks where account_id = :account")
_PARK = text("""
    insert into resolver.action_parks (account_id, kind, reason, since, probe_at)
    select :account, kind, :reason, :now, :probe_at from unnest(cast(:kinds as text[])) as kind
    on conflict (account_id, kind) do update set reason = excluded.reason, probe_at = excluded.probe_at
""")
_POSTPONE = text("""
    update resolver.action_parks set probe_at = :probe_at where account_id = :account and kind = any(:kinds)
""")
_OPEN = text("delete from resolver.action_parks where account_id = :account and kind = any(:kinds) returning kind")


def read_parks(connection: Connection, account_id: int, now: datetime) -> Parks:
    """What is closed now."""
    rows = connection.execute(_READ, {"account": account_id}).all()
    return Parks(
        frozenset(row.kind for row in rows if row.probe_at > now),
        frozenset(row.kind for row in rows if row.probe_at <= now),
    )


def park_kinds(connection: Connection, account_id: int, kinds: Collection[str], reason: str, now: datetime) -> None:
    """Make no such calls, but for one probe each PROBE_INTERVAL."""
    values = {"account": account_id, "kinds": sorted(kinds), "reason": reason[:500], "now": now}
    connection.execute(_PARK, {**values, "probe_at": now + PROBE_INTERVAL})


def postpone_probes(connection: Connection, account_id: int, kinds: Collection[str], now: datetime) -> None:
    """One probe is on its way: no other before the next interval."""
    values = {"account": account_id, "kinds": sorted(kinds), "probe_at": now + PROBE_INTERVAL}
    connection.execute(_POSTPONE, values)


def open_kinds(connection: Connection, account_id: int, kinds: Collection[str]) -> list[str]:
    """These calls are permitted; returns those that were not."""
    values = {"account": account_id, "kinds": sorted(kinds)}
    return list(connection.execute(_OPEN, values).scalars())
