"""Polling leads that may have killed their workers: one by one, when nothing else is under way in this process.

Neighbours: `worker.polling` asks about them, `worker.store.suspects`, `worker.queueing`.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from worker.accounts import Account
from worker.asking import Batch
from worker.clock import read_sleepless
from worker.permits import PermitKeeper
from worker.poller import Poller
from worker.queueing import wait_for_turn
from worker.reserving import find_budget
from worker.store.db import read_clock, transaction
from worker.store.suspects import claim_suspect, list_with_due_suspects


class Suspects:
    """Claims suspects on behalf of one run of polling, whose permits `keeper` keeps."""

    def __init__(self, poller: Poller, keeper: PermitKeeper) -> None:
        self._poller, self._keeper = poller, keeper

    def list_accounts(self, accounts: Collection[str]) -> Collection[str]:
        """Of these, those with due suspects."""
        with transaction(self._poller.engine) as connection:
            return list_with_due_suspects(connection, accounts, read_clock(connection))

    def claim(self, account: Account) -> Batch | None:
        """One suspect, as soon as it is its turn; None if there is none, or another's turn took too long."""
        return wait_for_turn(self._poller.engine, lambda ticket: self._try(account, ticket))

    def _try(self, account: Account, ticket: int | None) -> tuple[int | None, Batch | None]:
        began_at = read_sleepless()
        with transaction(self._poller.engine) as connection:
            now, read_at = read_clock(connection), time.monotonic()
            place, claim = claim_suspect(
                connection, account.name, find_budget(account), now, ticket, self._keeper.lease
            )
        if claim is None:
            return place, None
        self._keeper.hold(claim.id, began_at)
        return place, Batch(account, claim, now, read_at, self._poller.reads_facts)
