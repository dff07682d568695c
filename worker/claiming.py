"""What a run of polling has of the accounts: leads that are due, with permits that are kept, until it hands them over.

One run at a time asks about an account's leads. Two that share its budget are within it only as long as neither is
held up: what one sends late falls between the requests of the other. Neighbours: `worker.polling` asks,
`worker.store.claims`, `worker.store.handing_over`, `worker.permits`.
"""

from __future__ import annotations

import random
import time

import structlog

from worker.accounts import Account
from worker.asking import Batch
from worker.clock import read_sleepless
from worker.errors import DatabaseUnavailable
from worker.lane import Lane
from worker.permits import PermitKeeper
from worker.poller import Poller
from worker.reserving import find_budget
from worker.store.claims import Claimant, claim_due_leads
from worker.store.db import read_clock, transaction
from worker.store.handing_over import hand_over

log = structlog.get_logger(__name__)

# How soon to look again at an account that had nothing to claim, while requests of others are under way.
CLAIM_AGAIN_SECONDS = 0.25
_NAME_BITS = 63  # of a run: a bigint that no other run under way has


class Claimer:
    """Claims on behalf of one run of polling, and keeps its permits."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._keeper = PermitKeeper(poller.engine, poller.client.timeout_seconds)
        self._again_at: dict[str, float] = {}
        self._run = random.getrandbits(_NAME_BITS)

    def may_claim(self, account: Account) -> bool:
        """Whether the last claim found something, or was long enough ago."""
        return time.monotonic() >= self._again_at.get(account.name, 0.0)

    def note_settled(self, account: Account) -> None:
        """There may be something to claim again at once: permits are free, or leads due."""
        self._again_at[account.name] = 0.0

    def claim(self, lane: Lane, *, suspects: bool = False) -> Batch | None:
        """Due leads of the lane's account, for this lane; None if there are none for us."""
        account, began_at = lane.account, read_sleepless()
        self._again_at[account.name] = time.monotonic() + CLAIM_AGAIN_SECONDS
        run = None if suspects else self._run
        claimant = Claimant(run, lane.count_permits(), lane.count_spare_room(), self._keeper.lease)
        size = self._poller.batch_size
        with transaction(self._poller.engine) as connection:
            now, read_at = read_clock(connection), time.monotonic()
            claim = claim_due_leads(
                connection, account.name, find_budget(account), now, size, claimant, suspects=suspects
            )
        if claim is None:
            return None
        self._again_at[account.name] = 0.0
        self._keeper.hold(claim.id, began_at)
        return Batch(account, claim, now, read_at, self._poller.reads_facts)

    def have_lapsed(self, lane: Lane) -> bool:
        """Whether nothing more may be sent under the lane's permits."""
        return self._keeper.have_lapsed(lane.batches)

    def drop(self, batch: Batch) -> None:
        """The batch's claim has ended."""
        self._keeper.drop(batch.claim.id)

    def hand_over(self, lane: Lane) -> None:
        """Nothing more leaves in this lane: another run may ask about its account's leads."""
        account = lane.account
        try:
            with transaction(self._poller.engine) as connection:
                hand_over(connection, account.name, find_budget(account), lane.batches, read_clock(connection))
        except DatabaseUnavailable as error:  # then another may when the lane's last answer is settled
            log.warning("account_not_handed_over", account=account.name, error=str(error))

    def close(self) -> None:
        """Keep no permits any more."""
        self._keeper.close()
