"""Acting on held leads by rule, once a minute: what an account's settings say is asked for as a person would ask.

Off unless configured. The ledger sees to it that nothing is done twice. Neighbours: `worker.domain.holds` decides,
`worker.quarantine` records what is asked for.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta

import structlog
from sqlalchemy import Engine

from worker.accounts import Account
from worker.domain.holds import Decision, decide_hold
from worker.quarantine import BATCH, request_actions
from worker.store.db import read_clock, transaction
from worker.store.holds import list_held, read_holds
from worker.store.ticks import take_duty

log = structlog.get_logger(__name__)

EVERY = timedelta(seconds=55)  # the sweep comes by every ten seconds
_MOST_LOGGED = 20
LONGEST_SECONDS = 10.0  # of one round; what is left then has its turn in another


def apply_policies(engine: Engine, accounts: Mapping[str, Account]) -> Counter[str]:
    """Ask for what the rules say about held leads, if it is time to; how many of each action were asked for."""
    ruled = [account for account in accounts.values() if account.has_hold_rules]
    if not ruled:
        return Counter()
    with transaction(engine) as connection:
        if not take_duty(connection, "policies", EVERY, read_clock(connection)):
            return Counter()
    until = time.monotonic() + LONGEST_SECONDS
    random.shuffle(ruled)
    return sum((_apply(engine, account, until) for account in ruled), start=Counter[str]())


def _apply(engine: Engine, account: Account, until: float) -> Counter[str]:
    asked = Counter[str]()
    for page in _list_pages(engine, account.name):
        if time.monotonic() > until:
            log.warning("policies_cut_short", account=account.name)
            break
        for decision, queue_ids in _decide(engine, account, page).items():
            done = request_actions(
                engine, account.name, decision.kind, queue_ids, requested_by="policy", reason=decision.reason,
                by_policy=True,
            )  # fmt: skip
            actions = [one.action_id for one in done if one.outcome == "requested"]
            asked[decision.kind] += len(actions)
            log.info(
                "policy_asked", account=account.name, action=decision.kind, why=decision.reason, asked=len(actions),
                actions=actions[:_MOST_LOGGED],
            )  # fmt: skip
    return +asked


def _list_pages(engine: Engine, account: str) -> Iterator[list[int]]:
    with transaction(engine) as connection:
        held = list_held(connection, account)
    pages = [held[start : start + BATCH] for start in range(0, len(held), BATCH)]
    random.shuffle(pages)  # where time runs out, it is not always the same ones that wait
    return iter(pages)


def _decide(engine: Engine, account: Account, lead_ids: list[int]) -> dict[Decision, list[str]]:
    decided = dict[Decision, list[str]]()
    with transaction(engine) as connection:
        now, holds = read_clock(connection), read_holds(connection, lead_ids)
    for hold in holds:
        decision = decide_hold(account.choose_hold_rules(hold.campaign), hold, now)
        if decision is not None:
            decided.setdefault(decision, []).append(hold.queue_id)
    return decided
