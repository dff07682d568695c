"""Polling leads that may have killed their workers: one by one, when nothing else is under way in this process.

Neighbours: `worker.polling` asks about them, `worker.store.suspects` has them wait for a permit.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Sequence

from worker.accounts import Account
from worker.asking import Batch
from worker.clock import read_sleepless
from worker.errors import DatabaseContended, DatabaseUnavailable
from worker.permits import PermitKeeper
from worker.poller import Poller
from worker.reserving import find_budget
from worker.store.db import read_clock, transaction
from worker.store.suspects import claim_suspect, list_with_due_suspects


class Suspects:
    """Claims suspects on behalf of one run of polling, whose permits `keeper` keeps."""

    def __init__(self, poller: Poller, keeper: PermitKeeper) -> None:
        self._poller, self._keeper = poller, keeper

    def list_accounts(self, accounts: Collection[str]) -> Sequence[str]:
        """Of these, those with due suspects, in any order: none is always last."""
        try:
            with transaction(self._poller.engine) as connection:
                found = list_with_due_suspects(connection, accounts, read_clock(connection))
        except DatabaseUnavailable:  # what was polled is settled: the next turn looks for them
            return []
        random.shuffle(found)
        return found

    def claim(self, account: Account) -> Batch | None:
        """One suspect; None if there is none to be asked about now: the end of a next turn sees to it."""
        began_at = read_sleepless()
        try:
            with transaction(self._poller.engine) as connection:
                now, read_at = read_clock(connection), time.monotonic()
                claim = claim_suspect(connection, account.name, find_budget(account), now, self._keeper.lease)
        except DatabaseContended:
            return None
        if claim is None:
            return None
        self._keeper.hold(claim.id, began_at)
        return Batch(account, claim, now, read_at, self._poller.reads_facts)
