"""Sending actions to LeadByte, each at most once.

Committed as sent before the first byte; sent with no transaction open; recorded where the token still stands. A crash
in between leaves an action that turns unsure, is looked up by `worker.following`, and is sent again only if that shows
that nothing happened. Neighbours: `worker.quarantine` takes the requests, `worker.errands` claims them,
`worker.leadbyte.acting` makes the calls, `worker.domain.action_answers` and `action_results` say what came of them.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, Engine

from worker.accounts import Account
from worker.clock import read_sleepless
from worker.domain.action_answers import Outcome, Verdict, Way, read_post_answer, read_put_answer
from worker.domain.action_results import LET_IN, NEVER_ARRIVED, Result, conclude_sent, conclude_unsent, hide_values
from worker.domain.actions import PERMISSION, Kind
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.domain.retry_after import read_retry_after
from worker.errands import Errand, find_errand
from worker.errors import LeadResolverError, SettingsError
from worker.failpoints import reach
from worker.leadbyte.acting import ActingClient, Item
from worker.leadbyte.wire import decode_body
from worker.manners import heed_throttling, pause
from worker.retrying import retry_while_unavailable
from worker.store.accounts import PauseKind, resume_account
from worker.store.action_looks import list_accounts_to_send
from worker.store.actions import NEEDS, ClaimedAction, record_results
from worker.store.claims import PROBE_INTERVAL
from worker.store.db import read_clock, transaction
from worker.store.parks import open_kinds, park_kinds
from worker.store.slots import PROBED, leave_queue

log = structlog.get_logger(__name__)
_jitter = random.Random()  # noqa: S311 - jitter needs no secrecy

WAYS: Mapping[Kind, Way] = {"release": "process", "reject": "reject"}


@dataclass(frozen=True, slots=True)
class Sender:
    """All that sending and following up need."""

    engine: Engine
    client: ActingClient
    accounts: Mapping[str, Account]
    follow: timedelta  # how long LeadByte may take to do what it acknowledged


def list_accounts(sender: Sender) -> list[Account]:
    """The configured accounts with actions to send."""
    with transaction(sender.engine) as connection:
        names = list_accounts_to_send(connection, read_clock(connection))
    return [sender.accounts[name] for name in names if name in sender.accounts]


def send_next(sender: Sender, account: Account) -> Counter[str] | None:
    """Make one request about the account's next actions; how many came to which state, None if none may be sent now."""
    errand = find_errand(sender.engine, account)
    if errand is None:
        return None
    ids = [action.quarantine_id for action in errand.actions]
    reach("quarantine.after_claim", ids)
    time.sleep(max(0.0, errand.send_at - read_sleepless()))
    try:
        asked = _send(sender.client, account, errand)
    except SettingsError as error:
        asked = NoAnswer(Silence.UNSENT)
        _pause_for_key(sender, account, str(error))
    reach("quarantine.after_request", ids)
    # Safe to do again: it is fenced, so a commit whose confirmation was lost has nothing left to record.
    states = retry_while_unavailable(lambda: _record(sender, account, errand, asked))
    reach("quarantine.after_record", ids)
    log.info("actions_sent", account=account.name, actions=[action.id for action in errand.actions], **states)
    return states


def _send(client: ActingClient, account: Account, errand: Errand) -> Asked:
    if errand.shape == "process":
        (action,) = errand.actions
        return client.post_process(account, action.quarantine_id, WAYS[action.kind], errand.send_before)
    return client.put_leads(account, [_make_item(action) for action in errand.actions], errand.send_before)


def _make_item(action: ClaimedAction) -> Item:
    if not action.fields:  # with nothing to update, it would release the lead as it is
        raise LeadResolverError(f"the field values of action {action.id} are gone, so it is not sent")
    return Item(action.quarantine_id, action.fields, WAYS.get(action.kind))


def _record(sender: Sender, account: Account, errand: Errand, asked: Asked) -> Counter[str]:
    verdicts = _read_answer(errand, asked)
    fields = {action.id: json.dumps(action.fields) for action in errand.actions if action.fields}
    with transaction(sender.engine) as connection:
        now = read_clock(connection)
        results = [_make_result(sender, errand, action, verdicts, asked, now) for action in errand.actions]
        states = record_results(connection, errand.slot.id, results, fields, now)
        _note_permissions(connection, account, errand, verdicts, now)
        _note_throttling(connection, account, errand, verdicts, _read_wait(asked, now), now)
        leave_queue(connection, errand.slot.id)
        reach("quarantine.before_commit", [action.quarantine_id for action in errand.actions])
    return Counter(states.values())


def _read_answer(errand: Errand, asked: Asked) -> dict[str, Verdict]:
    ways = {action.quarantine_id: WAYS.get(action.kind) for action in errand.actions}
    if not isinstance(asked, Answer):
        return dict.fromkeys(ways, Verdict(Outcome.UNCLEAR, asked.why))
    decoded = decode_body(asked.body)
    if errand.shape == "process":
        verdicts = {
            held: read_post_answer(held, way, asked.http_status, decoded.document, decoded.text)
            for held, way in ways.items()
            if way is not None
        }
    else:
        verdicts = read_put_answer(ways, asked.http_status, decoded.document, decoded.text)
    values = [value for action in errand.actions for value in (action.fields or {}).values()]
    return {
        held: Verdict(verdict.outcome, hide_values(f"LeadByte: {verdict.words}", values))
        for held, verdict in verdicts.items()
    }


def _make_result(
    sender: Sender,
    errand: Errand,
    action: ClaimedAction,
    verdicts: Mapping[str, Verdict],
    asked: Asked,
    now: datetime,
) -> Result:
    if isinstance(asked, NoAnswer) and asked.why in NEVER_ARRIVED:
        return conclude_unsent(action.id, asked.why, action.failures, now, _jitter.random())
    # A probe only asks whether the trouble is over; of several in one request, one is refused for all.
    bears_news = not errand.probed and action is errand.actions[0]
    verdict = verdicts[action.quarantine_id]
    return conclude_sent(
        action.id, verdict, now, follow=sender.follow, wait=_read_wait(asked, now), bears_news=bears_news
    )


def _note_permissions(
    connection: Connection, account: Account, errand: Errand, verdicts: Mapping[str, Verdict], now: datetime
) -> None:
    needed = NEEDS[errand.shape]
    forbidden = next((v.words for v in verdicts.values() if v.outcome is Outcome.FORBIDDEN), None)
    if forbidden is not None:
        kinds = {kind for kind in needed if kind in forbidden.casefold()} or needed
        reason = f"waits for the key's permission '{PERMISSION}', tried again each minute. {forbidden}"
        park_kinds(connection, errand.slot.account_id, kinds, reason, now)
        log.warning("actions_parked", account=account.name, kinds=sorted(kinds))
    elif errand.probed and any(v.outcome in LET_IN for v in verdicts.values()):
        opened = open_kinds(connection, errand.slot.account_id, needed)
        log.info("actions_unparked", account=account.name, kinds=sorted(opened))


def _note_throttling(
    connection: Connection,
    account: Account,
    errand: Errand,
    verdicts: Mapping[str, Verdict],
    wait: timedelta,
    now: datetime,
) -> None:
    if any(v.outcome is Outcome.THROTTLED for v in verdicts.values()):
        heed_throttling(connection, account.name, wait, now)
    elif errand.slot.probe_until is not None and any(v.outcome in LET_IN for v in verdicts.values()):
        resume_account(connection, account.name, PROBED, no_later_than=errand.slot.probe_until)


def _read_wait(asked: Asked, now: datetime) -> timedelta:
    return read_retry_after(asked.retry_after if isinstance(asked, Answer) else None, now)


def _pause_for_key(sender: Sender, account: Account, reason: str) -> None:
    with transaction(sender.engine) as connection:
        pause(connection, account.name, PauseKind.KEY, reason, read_clock(connection) + PROBE_INTERVAL)
