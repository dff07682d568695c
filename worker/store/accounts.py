"""Accounts as Postgres knows them: who has work, who is paused and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import Connection, text

UNTIL_RESUMED = datetime(9999, 12, 31, tzinfo=UTC)  # 'infinity' is no moment that Python can hold


class PauseKind(StrEnum):
    """Who paused an account. All but the operator's pause end by themselves."""

    OPERATOR = "operator"  # `lead-resolver pause`; ends with `resume`
    SETTINGS = "settings"  # no key is configured for it; ends when one is
    KEY = "key"  # LeadByte refused the key or lacks a permission; probed once a minute
    THROTTLED = "throttled"  # LeadByte asked us to wait
    TROUBLE = "trouble"  # LeadByte is down, slow beyond bearing, or silent; probed every few seconds
    BUDGET = "budget"  # today's requests are used up; ends by the clock


_DUE = text("""
    select a.name, least(:most, (
        select count(*) from (
            select from resolver.watches w
            where w.account_id = a.id and w.claim_id is null and w.next_poll_at <= :now limit :most
        ) due
    )) as due
    from resolver.accounts a where a.paused_until is null or a.paused_until <= :now
""")

# Only an operator's pause overrules one that waits for a person; trouble makes a pause only ever longer.
_PAUSE = text("""
    update resolver.accounts set paused_until = :until, pause_kind = :kind, pause_reason = :reason
    where name = :account and (:kind = 'operator' or (
        coalesce(pause_kind, '') not in ('operator', 'settings') and (paused_until is null or paused_until <= :until)))
    returning true
""")
_RESUME = text("""
    update resolver.accounts set paused_until = null, pause_kind = null, pause_reason = null
    where name = :account and pause_kind = any(:kinds) and paused_until <= :no_later_than returning true
""")
_ENSURE = text("insert into resolver.accounts (name) values (:account) on conflict (name) do nothing")
_PAUSE_UNCONFIGURED = text("""
    update resolver.accounts set paused_until = :until, pause_kind = 'settings', pause_reason = :reason
    where coalesce(pause_kind, '') not in ('operator', 'settings') and not (name = any(:configured))
    returning name
""")
# Of a pause: not that of a day's budget, which has counted what has its moment already.
STOPS_ALL = f"pause_kind is distinct from '{PauseKind.BUDGET}'"
_PAUSED = text(f"""
    select name, paused_until from resolver.accounts
    where name = any(:names) and paused_until > :now and {STOPS_ALL}
""")
_RESUME_CONFIGURED = text("""
    update resolver.accounts set paused_until = null, pause_kind = null, pause_reason = null
    where pause_kind = 'settings' and name = any(:configured)
    returning name
""")


def count_due_leads(connection: Connection, now: datetime, most: int) -> dict[str, int]:
    """Due leads by account that is not paused, counted up to `most` each."""
    return {row.name: row.due for row in connection.execute(_DUE, {"now": now, "most": most})}


def pause_account(connection: Connection, account: str, kind: PauseKind, reason: str, until: datetime) -> bool:
    """Claim nothing of the account until then; returns whether that is now so (a stronger pause stands)."""
    values = {"account": account, "kind": kind, "reason": reason[:500], "until": until}
    return connection.execute(_PAUSE, values).first() is not None


def resume_account(
    connection: Connection,
    account: str,
    kinds: Collection[PauseKind],
    *,
    no_later_than: datetime = UNTIL_RESUMED,
) -> bool:
    """End the account's pause if it is one of `kinds` and would not last longer; returns whether it was."""
    values = {"account": account, "kinds": list(kinds), "no_later_than": no_later_than}
    return connection.execute(_RESUME, values).first() is not None


def list_paused(connection: Connection, accounts: Collection[str], now: datetime) -> dict[str, datetime]:
    """Those of these accounts of which nothing may be asked now, not even what has its moment; until when."""
    rows = connection.execute(_PAUSED, {"names": list(accounts), "now": now})
    return {row.name: row.paused_until for row in rows}


def list_accounts(connection: Connection) -> set[str]:
    """The accounts that have, or had, leads here."""
    return set(connection.execute(text("select name from resolver.accounts")).scalars())


def ensure_account(connection: Connection, account: str) -> None:
    """Make the account known, so that it can be paused before its first lead."""
    connection.execute(_ENSURE, {"account": account})


def pause_unconfigured(connection: Connection, configured: Collection[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Pause accounts that have leads but no key, resume those that have got one; returns both lists of names."""
    reason = "no API key is configured for this account (LEADBYTE_ACCOUNT or LEADBYTE_ACCOUNTS_FILE)"
    names = {"configured": list(configured)}
    paused = connection.execute(_PAUSE_UNCONFIGURED, {**names, "until": UNTIL_RESUMED, "reason": reason})
    return paused.scalars().all(), connection.execute(_RESUME_CONFIGURED, names).scalars().all()
