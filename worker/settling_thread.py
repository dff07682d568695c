"""Settling beside polling: a thread of its own writes answers down, so that no request waits for Postgres.

One thread a run, since the settlements of a claim must not overtake each other: the last one closes it. Neighbours:
`worker.polling` hands in and takes back, `worker.settlement` is what is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from worker.accounts import Account
from worker.asking import Batch, Told
from worker.errors import DatabaseUnavailable
from worker.failpoints import reach
from worker.retrying import retry_while_unavailable
from worker.settlement import Settled
from worker.store.settling import Release

# One that is being written and one that waits: more would only make answers wait longer, and take memory.
MOST_HANDED_IN = 2

Settle = Callable[[Batch, Sequence[Told], Release], Settled]


@dataclass(frozen=True, slots=True)
class _HandedIn:
    account: Account
    outcome: Future[Settled]


class SettlingThread:
    """Runs `settle(batch, told, release)` in the order of handing in; its errors come out of `take_settled`."""

    def __init__(self, settle: Settle) -> None:
        self._settle = settle
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="settling")
        self._handed_in: deque[_HandedIn] = deque()
        self._is_closing = False

    def __len__(self) -> int:
        """How many were handed in and not yet taken."""
        return len(self._handed_in)

    def hand_in(self, batch: Batch, told: Sequence[Told], release: Release) -> None:
        """Have these answers of the batch settled, and its permits released."""
        self._handed_in.append(
            _HandedIn(batch.account, self._thread.submit(self._settle_patiently, batch, told, release))
        )

    def _settle_patiently(self, batch: Batch, told: Sequence[Told], release: Release) -> Settled:
        if self._is_closing:
            raise DatabaseUnavailable("polling ended before these answers were settled; they will be asked for again")
        names = [t.lead.queue_id for t in told]
        reach("poll.before_settle", names)
        settled = retry_while_unavailable(lambda: self._settle(batch, told, release))
        reach("poll.after_settle", names)
        return settled

    def take_settled(self, at_most_left: int) -> Iterator[tuple[Account, Settled]]:
        """What is settled by now; waits until at most so many are left.

        Raises:
            DatabaseUnavailable: Postgres stayed away; what was handed in stays leased until the lease has run out.
        """
        while self._handed_in and (len(self._handed_in) > at_most_left or self._handed_in[0].outcome.done()):
            handed_in = self._handed_in.popleft()
            yield handed_in.account, handed_in.outcome.result()

    def close(self) -> None:
        """Wait for what is being written; nothing is, unless an error ended the run: the rest is left then."""
        self._is_closing = True  # the one before may have used up the time there is
        self._thread.shutdown(wait=True, cancel_futures=True)
