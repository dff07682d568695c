"""The invariants I1 to I6 at the end of every fault test, checked against the database and the sandbox's own record."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from tests.processes.leaks import find_leaks, read_files, read_redis
from tests.processes.stage import ACCOUNT, CONCURRENCY, REQUESTS_PER_SECOND, SECRETS, Stage
from worker.local.agreement import find_differences
from worker.local.effects import find_wrong_effects
from worker.store.db import transaction
from worker.store.inquiries import read_leads

# On a busy machine the sandbox's own thread notes a call late by so much; two calls then seem nearer than they were.
_LATE_NOTE_SECONDS = 0.25

_LOST = """
    select l.queue_id, l.state, l.state_reason, w.* from resolver.leads l
    left join resolver.watches w on w.lead_id = l.id
    where not coalesce(
        l.resolved_at is not null and w.lead_id is null
        or l.state = 'abandoned' and l.state_reason is not null
        or w.claim_id is null and w.next_poll_at is not null
        or w.claim_id is not null and w.lease_until > clock_timestamp()
        or w.lead_id is not null and w.next_poll_at is null and l.state_reason like 'parked:%', false)
"""
_BROKEN_CHAINS = """
    select e.* from (
        select l.queue_id, l.state, e.id, e.from_state, e.to_state,
            lag(e.to_state) over by_lead as previous, lead(e.id) over by_lead is null as is_last
        from resolver.leads l left join resolver.lead_events e on e.lead_id = l.id
        window by_lead as (partition by l.id order by e.id)
    ) e where e.from_state is distinct from e.previous or (e.is_last and e.to_state is distinct from e.state)
"""
_WAITING_REPLIES = "select * from resolver.unpersisted where parked_because is null"
_LEDGER = "select * from reporting.quarantine where account = :account and action_id is not null"
# Whatever is under way is due within the hour and not overdue; or something that is told keeps it from that.
_STRANDED_ACTIONS = """
    select a.id, a.kind, a.state, a.next_try_at, a.message from resolver.actions a
    join resolver.accounts c on c.id = a.account_id
    where a.state not in ('confirmed', 'refused') and not coalesce(
        a.next_try_at between clock_timestamp() - interval '60 seconds' and clock_timestamp() + interval '1 hour'
        or a.state in ('unsure', 'acknowledged') and a.next_try_at is null and a.message like '%quarantine resolve%'
        or a.state = 'requested' and (
            c.paused_until > clock_timestamp()
            or exists (select from resolver.action_parks p where p.account_id = a.account_id and p.reason <> '')
            or exists (
                select from resolver.actions b where b.account_id = a.account_id
                and b.quarantine_id = a.quarantine_id and b.id < a.id and b.state in ('requested', 'sent', 'unsure'))
        ), false)
"""
_KEPT_DATA = "select id from resolver.replies where strpos(lower(body), lower(:secret)) > 0"


def check_invariants(stage: Stage) -> None:
    """Fail with every violation found. To be called when nothing is under way that would still change a final lead."""
    found = chain(
        _find_lost_leads(stage),
        _find_wrong_outcomes(stage),
        _find_leaks(stage),
        _find_overdue(stage),
        _find_wrong_actions(stage),
        _find_bad_manners(stage),
    )
    violations = "\n".join(found)
    assert not violations, violations


def _find_lost_leads(stage: Stage) -> Iterator[str]:
    known = {row["queue_id"] for row in stage.query("select queue_id from resolver.leads")}
    yield from (f"I1: {queue_id} was recorded and is gone" for queue_id in set(stage.tracked) - known)
    yield from (f"I1: nobody will ever look at {row}" for row in stage.query(_LOST))


def _find_wrong_outcomes(stage: Stage) -> Iterator[str]:
    yield from (f"I2: events do not lead to the state: {row}" for row in stage.query(_BROKEN_CHAINS))
    yield from (f"I2: a reply was not persisted: {row}" for row in stage.query(_WAITING_REPLIES))
    truth = stage.sandbox.truth(ACCOUNT)
    with transaction(stage.engine) as connection:
        for queue_id in stage.tracked:
            (lead,) = read_leads(connection, queue_id, ACCOUNT)
            told = truth.get(queue_id)  # a magic ID nobody has asked about yet has no truth
            polls = 0 if told is None else told["polls"]
            if lead["polls"] > polls:
                yield f"I2: {queue_id} has {lead['polls']} polls recorded, LeadByte was asked {polls} times"
            if lead["resolved_at"] is not None and told is not None:
                yield from (f"I2: {queue_id}: {difference}" for difference in find_differences(told, lead))
                yield from _find_doubles(queue_id, "delivery_id", lead["deliveries"])
                yield from _find_doubles(queue_id, "buyer_id", lead["buyers"])


def _find_doubles(queue_id: str, name: str, rows: list[dict[str, object]] | None) -> Iterator[str]:
    ids = [row[name] for row in rows or ()]
    if len(ids) != len(set(ids)):
        yield f"I2: {queue_id} has a {name} twice: {ids}"


def _find_leaks(stage: Stage) -> Iterator[str]:
    with stage.open_redis() as client:
        texts = [*read_files(stage.folder), *read_redis(client)]
    texts.append(("Postgres' log", stage.postgres.log.read_text("utf-8", "replace")))
    yield from (f"I3: {leak}" for leak in find_leaks(texts, SECRETS))
    for secret in SECRETS:
        yield from (f"I3: {secret!r} is in reply {row['id']}" for row in stage.query(_KEPT_DATA, secret=secret))


def _find_overdue(stage: Stage) -> Iterator[str]:
    for row in stage.query("select * from reporting.pipeline where oldest_overdue_seconds > 60"):
        yield f"I4: overdue by more than a minute: {row}"


def _find_wrong_actions(stage: Stage) -> Iterator[str]:
    # The log last: an action concluded in between has had its effect by then.
    ledger = stage.query(_LEDGER, account=ACCOUNT)
    yield from (f"I5: {wrong}" for wrong in find_wrong_effects(stage.sandbox.actions(), ledger))
    yield from (f"I5: nobody will ever take up {row}" for row in stage.query(_STRANDED_ACTIONS))


def _find_bad_manners(stage: Stage) -> Iterator[str]:
    calls = stage.sandbox.calls(instants=True)
    peak = calls["by_account"].get(ACCOUNT, {}).get("peak_concurrency", 0)
    if peak > CONCURRENCY:
        yield f"I6: {peak} calls at once, {CONCURRENCY} are allowed"
    at = [instant for instant, account, kind in calls["instants"] if account == ACCOUNT and kind == "poll"]
    for first, last in zip(at, at[REQUESTS_PER_SECOND:], strict=False):
        if last - first < 1 - _LATE_NOTE_SECONDS:
            yield f"I6: {REQUESTS_PER_SECOND + 1} calls within {last - first:.2f} s, from {first:.2f} s on"
