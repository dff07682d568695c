"""What polling needs: its connections, its accounts, and the rules by which answers are settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from worker.accounts import Account
from worker.asking import Batch, Told
from worker.domain.decide import Policy
from worker.leadbyte.client import LeadByteClient
from worker.schedule_book import ChooseSchedule
from worker.settlement import Settled, settle
from worker.store.settling import Release


@dataclass(frozen=True, slots=True)
class Poller:
    """All that polling needs in one process."""

    engine: Engine
    client: LeadByteClient
    accounts: Mapping[str, Account]
    policy: Policy
    batch_size: int
    keep_lead_data: bool = False
    # Re-checks compare the facts of a verdict with those told before; without them persistence alone reads facts.
    reads_facts: bool = True
    choose_schedule: ChooseSchedule | None = None  # None: every lead goes by the policy's

    def settle(self, batch: Batch, told: Sequence[Told], release: Release) -> Settled:
        """See `worker.settlement.settle`."""
        return settle(
            self.engine,
            self.policy,
            batch,
            told,
            release,
            self.choose_schedule,
            keep_lead_data=self.keep_lead_data,
        )
