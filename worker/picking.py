"""Which accounts a run of polling claims of next, and until when.

Neighbours: `worker.polling` claims of them, `worker.claiming` knows of which there is something to claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from worker.accounts import Account
from worker.claiming import Claimer
from worker.lane import Lane, Lanes

# Each claim is a transaction, and meanwhile no request of our thread leaves: of hundreds of accounts those due are
# claimed of a few at a time, or one with many requests a second would stand still.
PICK_FOR_SECONDS = 0.02

Ask = Callable[[], bool]


class Picker:
    """The accounts of one run. `has_more`: the last pick left some for the next, which is not to be waited for."""

    def __init__(self, accounts: Sequence[Account], may_go_on: Ask, claimer: Claimer, lanes: Lanes) -> None:
        self._accounts = {account.name: account for account in accounts}  # those claimed of longest ago come first
        self._may_go_on, self._claimer, self._lanes = may_go_on, claimer, lanes
        self._over_at: float | None = None
        self.has_more = False

    def list_fillable(self) -> Mapping[str, Account]:
        """All accounts until the turn is over; then those of which nothing is awaited: one that hangs holds up none."""
        if self._over_at is None:
            if self._may_go_on():
                return self._accounts
            self._over_at = time.monotonic()
        awaited = self._lanes.list_awaited(self._over_at)
        return {name: one for name, one in self._accounts.items() if name not in awaited} if awaited else {}

    def pick(
        self, fillable: Mapping[str, Account], find_lane: Callable[[Account], Lane | None], *, is_idle: bool
    ) -> Iterator[Account]:
        """Of these, those to claim of now. `find_lane`: an account's open lane; `is_idle`: nothing is under way."""
        self.has_more = False  # also where Postgres is away
        claimable = self._claimer.list_claimable(fillable, is_idle=is_idle)
        until = time.monotonic() + PICK_FOR_SECONDS
        for account in list(fillable.values()):
            ours = find_lane(account)
            may_claim = account.name in claimable if ours is None else self._claimer.may_claim(account)
            if may_claim and (ours is None or ours.wants_more()):
                if time.monotonic() > until:
                    self.has_more = True
                    return
                self._accounts[account.name] = self._accounts.pop(account.name)
                yield account
