"""Is everything in order? One finding a question, each with what to do: Postgres, Redis, keys, clocks, workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry
from sqlalchemy import Connection, Engine, text

from worker.accounts import Account, load_accounts
from worker.domain.answers import Answer
from worker.domain.classify import Meaning, classify_reply
from worker.errors import LeadResolverError
from worker.explaining import say_pause
from worker.findings import Finding, Mark
from worker.leadbyte.choice import choose_transport, open_transport
from worker.leadbyte.client import LeadByteClient, Question
from worker.leadbyte.wire import Decoded, decode_body
from worker.settings import Settings, list_unknown_variables
from worker.store.db import open_engine, read_clock, transaction
from worker.store.drift import list_unknown_words
from worker.store.health import read_actions, read_blocks, read_rights
from worker.store.inquiries import read_pipeline
from worker.store.migrate import read_current, read_head
from worker.store.rechecks import count_rechecks
from worker.store.ticks import read_last

# An ID of the right shape that LeadByte never gave out: the answer tells about the key, and about no lead.
NOBODYS_QUEUE_ID = "00000000-00000000-00000000-0000-00000000"
OLDEST_POSTGRES = 150000
OLDEST_TICK = timedelta(seconds=15)
WORST_CLOCK = timedelta(seconds=5)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything, one finding after another; never raises."""
    for warning in list_unknown_variables(os.environ):
        yield Finding(Mark.WARNING, "environment", warning)
    try:
        engine = open_engine(settings.required_database_url(), pool_size=2)
    except LeadResolverError as error:
        yield Finding(Mark.FAILED, "Postgres", str(error))
    else:
        yield from _examine_postgres(engine, settings)
        engine.dispose()
    yield from _guard("Redis", lambda: _examine_redis(settings))
    try:
        accounts = load_accounts(settings)
    except LeadResolverError as error:
        yield Finding(Mark.FAILED, "account", str(error))
        return
    if not accounts:
        yield Finding(Mark.FAILED, "account", "none is configured: set LEADBYTE_ACCOUNT and LEADBYTE_API_KEY")
    for account in accounts.values():
        yield from _guard(f"account {account.name}", partial(_examine_key, settings, account))


def _guard(subject: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except LeadResolverError as error:
        yield Finding(Mark.FAILED, subject, str(error))


def _examine_postgres(engine: Engine, settings: Settings) -> Iterator[Finding]:
    try:
        with transaction(engine) as connection:
            findings = [_look_at_version(connection), _look_at_clock(connection)]
        yield from findings
        current, head = read_current(engine), read_head()
        if current != head:
            yield Finding(
                Mark.FAILED, "schema", f"at {current or 'nothing'}, needs {head}: run `lead-resolver migrate`"
            )
            return
        yield Finding(Mark.OK, "schema", f"at its head, {head}")
        with transaction(engine) as connection:
            findings = [*_look_at_roles(connection), _look_at_beat(connection), *_look_at_accounts(connection)]
            findings += [*_look_at_blocks(connection), *_look_at_words(connection), *_look_at_actions(connection)]
            findings.append(_look_at_rechecks(connection, settings))
        yield from findings
    except LeadResolverError as error:
        yield Finding(Mark.FAILED, "Postgres", str(error))


def _look_at_version(connection: Connection) -> Finding:
    number = int(connection.execute(text("show server_version_num")).scalar_one())
    version = connection.execute(text("show server_version")).scalar_one()
    if number < OLDEST_POSTGRES:
        return Finding(Mark.FAILED, "Postgres", f"version {version}; 15 or newer is needed")
    return Finding(Mark.OK, "Postgres", f"version {version} answers")


def _look_at_clock(connection: Connection) -> Finding:
    apart = abs(datetime.now(UTC) - read_clock(connection))
    seconds = f"{apart.total_seconds():.1f} s"
    if apart > WORST_CLOCK:
        text_ = f"this machine and Postgres are {seconds} apart; polling goes by Postgres', logs by this one: run NTP"
        return Finding(Mark.WARNING, "clocks", text_)
    return Finding(Mark.OK, "clocks", f"this machine and Postgres are {seconds} apart")


def _look_at_roles(connection: Connection) -> Iterator[Finding]:
    rights = read_rights(connection)
    for subject, role, what in (
        ("reporting", "lead_reporting", "read the schema reporting"),
        ("intake", "lead_intake", "call track_lead and request_quarantine_action"),
    ):
        if role not in rights:
            yield Finding(Mark.WARNING, subject, f"role {role} is missing: create it and let it {what}")
        elif not rights[role]:
            yield Finding(Mark.WARNING, subject, f"role {role} may not {what}: grant it the right to")
        else:
            yield Finding(Mark.OK, subject, f"role {role} may {what}")


def _look_at_beat(connection: Connection) -> Finding:
    at = read_last(connection, "tick")
    if at is None:
        return Finding(Mark.WARNING, "beat", "never ticked: are the processes beat and worker running?")
    ago = read_clock(connection) - at
    if ago > OLDEST_TICK:
        said = f"last tick {ago.total_seconds():.0f} s ago: are the processes beat and worker running?"
        return Finding(Mark.FAILED, "beat", said)
    return Finding(Mark.OK, "beat", f"last tick {ago.total_seconds():.1f} s ago")


def _look_at_accounts(connection: Connection) -> Iterator[Finding]:
    now = read_clock(connection)
    for row in read_pipeline(connection):
        subject = f"account {row['account']}"
        if row["paused_until"] is not None and row["paused_until"] > now:
            yield Finding(Mark.WARNING, subject, say_pause(row))
        overdue = row["oldest_overdue_seconds"]
        said = f"{row['open']:,} open, {row['due']:,} due, oldest overdue by {overdue:.0f} s"
        yield Finding(Mark.WARNING if overdue > 60 else Mark.OK, subject, said)  # noqa: PLR2004 - a minute


def _look_at_rechecks(connection: Connection, settings: Settings) -> Finding:
    days = settings.lead_resolver_recheck_days
    if not days:
        said = "off: returns after a verdict go unseen; LEAD_RESOLVER_RECHECK_DAYS switches them on"
        return Finding(Mark.OK, "re-checks", said)
    leads, due = count_rechecks(connection, read_clock(connection))
    share = f"on at most {settings.lead_resolver_recheck_share:.0%} of each account's requests"
    every = f"every {settings.lead_resolver_recheck_every_hours:g} h for {days:g} days, {share}"
    return Finding(Mark.OK, "re-checks", f"{every}: {leads:,} leads, {due:,} of them due")


def _look_at_blocks(connection: Connection) -> Iterator[Finding]:
    """Which blocks the keys append, as far as the newest answers show."""
    for row in read_blocks(connection):
        missing = [block for block in ("buyers", "deliveries", "campaign", "supplier") if not getattr(row, block)]
        subject = f"account {row.name}"
        if missing:
            said = (
                f"the newest {row.n} answers never had: {', '.join(missing)}; "
                "tick them under the key's API Queue settings in LeadByte to have them reported"
            )
            yield Finding(Mark.WARNING, subject, said)
        else:
            yield Finding(Mark.OK, subject, "the key appends buyers, deliveries, campaign and supplier")


def _look_at_words(connection: Connection) -> Iterator[Finding]:
    for row in list_unknown_words(connection):
        said = (
            f"LeadByte says {row['word']!a}, a status that is not known here ({row['times']:,} times, last "
            f"on {row['last_seen_at']:%Y-%m-%d}); its leads stay open and are asked about slowly. "
            f"Reply: {row['shape'][:300]}"
        )
        yield Finding(Mark.WARNING, f"account {row['account']}", said)


def _look_at_actions(connection: Connection) -> Iterator[Finding]:
    for row in read_actions(connection):
        if row.waiting or row.undone:
            said = f"{row.waiting} actions wait for a person, {row.undone} were acknowledged by LeadByte and never done"
            yield Finding(Mark.WARNING, f"account {row.name}", f"{said}: see reporting.quarantine")
        if row.parked is not None:
            yield Finding(Mark.WARNING, f"account {row.name}", f"actions: {row.parked}")
        if row.unsent:
            said = f"{row.unsent} actions have waited for over an hour to be sent, any field values with them"
            how = "`lead-resolver quarantine list --state requested` says why; `quarantine resolve ACTION --withdraw`"
            yield Finding(Mark.WARNING, f"account {row.name}", f"{said}: {how} ends one")


def _examine_redis(settings: Settings) -> Iterator[Finding]:
    url = settings.required_redis_url()
    try:
        # Its own retries, with pauses, would only make a person wait for the same answer.
        once = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5, retry=once) as client:
            info = client.info("server")
            policy = client.info("memory").get("maxmemory_policy", "unknown")
    except AuthenticationError:
        yield Finding(Mark.FAILED, "Redis", "refuses us: check user and password in REDIS_URL")
        return
    except (RedisError, OSError, ValueError) as error:
        yield Finding(Mark.FAILED, "Redis", f"does not answer ({type(error).__name__}): check REDIS_URL and the server")
        return
    yield Finding(Mark.OK, "Redis", f"version {info.get('valkey_version') or info.get('redis_version')} answers")
    if policy != "noeviction":
        said = f"maxmemory-policy is {policy}: set noeviction, or a full Redis throws hints away unseen"
        yield Finding(Mark.WARNING, "Redis", said)


def _examine_key(settings: Settings, account: Account) -> Iterator[Finding]:
    client = LeadByteClient(open_transport(settings.lead_resolver_transport), settings.leadbyte_timeout_seconds)
    subject = f"account {account.name}"
    try:
        ((_, asked),) = client.poll(account, [Question(0, NOBODYS_QUEUE_ID)], 1)
    finally:
        client.close()
    if not isinstance(asked, Answer):
        said = f"cannot ask {account.base_url}: {asked.why}; check LEADBYTE_ACCOUNT and LEADBYTE_BASE_URL"
        yield Finding(Mark.FAILED, subject, said)
        return
    decoded = decode_body(asked.body)
    reading = classify_reply(NOBODYS_QUEUE_ID, asked.http_status, decoded.document, decoded.text)
    if _is_some_web_server(asked, decoded):
        said = f"{account.base_url} answers 404 in words that are not LeadByte's: check LEADBYTE_BASE_URL"
        yield Finding(Mark.WARNING, subject, said)
    elif reading.meaning is Meaning.NOT_FOUND:
        by = choose_transport(settings.lead_resolver_transport)
        yield Finding(Mark.OK, subject, f"{account.base_url} takes the key and may be asked about queue IDs; by {by}")
    elif reading.meaning is Meaning.REFUSED:
        said = f"LeadByte refuses the key: {reading.reason}. Check it, and its permission 'API queue'"
        yield Finding(Mark.FAILED, subject, said)
    else:
        yield Finding(Mark.WARNING, subject, f"asked about an ID that never was, LeadByte gave {reading.reason}")


def _is_some_web_server(answer: Answer, decoded: Decoded) -> bool:
    """Whether a 404 may be about the address rather than the queue ID: every lead would then seem unknown."""
    speaks_of_lead = decoded.is_json and "notfound" in decoded.text.replace(" ", "").casefold()
    return answer.http_status == HTTPStatus.NOT_FOUND and not speaks_of_lead
