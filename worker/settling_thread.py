"""Settling beside polling: a thread of its own writes answers down, so that no request waits for Postgres.

One thread a run, since the settlements of a claim must not overtake each other: the last one closes it. Neighbours:
`worker.polling` hands in and takes back, `worker.settlement` is what is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from worker.asking import Batch, Told
from worker.errors import DatabaseUnavailable
from worker.failpoints import reach
from worker.lane import Lane
from worker.retrying import retry_while_unavailable
from worker.settlement import Settled
from worker.store.settling import Release

# One that is being written and one that waits: more would only make answers wait longer, and take memory.
MOST_HANDED_IN = 2

Settle = Callable[[Batch, Sequence[Told], Release], Settled]


@dataclass(frozen=True, slots=True)
class Share:
    """What is settled at once: some answers of a batch, which is or was of this lane, and the permits they free."""

    lane: Lane
    batch: Batch
    told: Sequence[Told]
    release: Release


class SettlingThread:
    """Runs `settle(batch, told, release)` in the order of handing in; its errors come out of `take_settled`."""

    def __init__(self, settle: Settle) -> None:
        self._settle = settle
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="settling")
        self._handed_in: deque[tuple[Share, Future[Settled]]] = deque()
        self._is_closing = False

    def __len__(self) -> int:
        """How many were handed in and not yet taken."""
        return len(self._handed_in)

    def hand_in(self, share: Share) -> None:
        """Have these answers settled, and their permits released."""
        self._handed_in.append((share, self._thread.submit(self._settle_patiently, share)))

    def _settle_patiently(self, share: Share) -> Settled:
        if self._is_closing:
            raise DatabaseUnavailable("polling ended before these answers were settled; they will be asked for again")
        reach("poll.before_settle", (t.lead.queue_id for t in share.told))
        settled = retry_while_unavailable(lambda: self._settle(share.batch, share.told, share.release))
        reach("poll.after_settle", (t.lead.queue_id for t in share.told))
        return settled

    def take_settled(self, at_most_left: int) -> Iterator[tuple[Share, Settled]]:
        """What is settled by now; waits until at most so many are left.

        Raises:
            DatabaseUnavailable: Postgres stayed away; what was handed in stays leased until the lease has run out.
        """
        while self._handed_in and (len(self._handed_in) > at_most_left or self._handed_in[0][1].done()):
            share, outcome = self._handed_in.popleft()
            yield share, outcome.result()

    def close(self) -> None:
        """Wait for what is being written; nothing is, unless an error ended the run: the rest is left then."""
        self._is_closing = True  # the one before may have used up the time there is
        self._thread.shutdown(wait=True, cancel_futures=True)
