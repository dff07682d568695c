"""Who asked what, how often and how much at once: counts and instants only, never a key, an address or data."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_REMEMBERED_CALLS = 200_000
UNKNOWN_ACCOUNT = "?"


class CallLog:
    """Calls by kind and account. Instants are monotonic seconds since the log began."""

    def __init__(self, read_monotonic: Callable[[], float] = time.monotonic) -> None:
        self._read_monotonic = read_monotonic
        self._began = read_monotonic()
        self._instants: deque[tuple[float, str, str]] = deque(maxlen=_REMEMBERED_CALLS)
        self._throttles: deque[tuple[float, str, str]] = deque(maxlen=_REMEMBERED_CALLS)
        self._kinds: Counter[str] = Counter()
        self._accounts: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._faults: Counter[str] = Counter()
        self._in_flight: Counter[str] = Counter()
        self._peaks: Counter[str] = Counter()
        self._trapped: Counter[str] = Counter()
        self._unknown_polls = 0

    @contextmanager
    def record_call(self, kind: str, account: str) -> Iterator[int]:
        """Count a call for as long as it lasts; yields how many of the account are under way, this one included."""
        self._instants.append((self._read_monotonic() - self._began, account, kind))
        self._kinds[kind] += 1
        self._accounts[account] += 1
        self._in_flight[account] += 1
        under_way = self._in_flight[account]
        self._peaks[account] = max(self._peaks[account], under_way)
        try:
            yield under_way
        finally:
            self._in_flight[account] -= 1

    def record_answer(self, account: str, status: int, retry_after: str | None) -> None:
        """Count an answer; a 429 is kept with its moment, so that impatience shows."""
        self._statuses[status] += 1
        if retry_after is not None:
            self._throttles.append((self._read_monotonic() - self._began, account, retry_after))

    def record_unknown_poll(self) -> None:
        """Count a question about a queue ID nobody was given."""
        self._unknown_polls += 1

    def record_trapped(self, *, carries_key: bool) -> None:
        """Count a client that followed a redirect."""
        self._trapped["requests"] += 1
        self._trapped["with_key"] += carries_key

    def record_fault(self, name: str) -> None:
        """Count a fault played."""
        self._faults[name] += 1

    def summarise(self, *, with_instants: bool) -> dict[str, Any]:
        """Everything as JSON; the instants `[seconds, account, kind]` only when asked for, they are many."""
        peaks_per_second = self._find_peaks_per_second()
        accounts = {
            account: {
                "calls": calls,
                "peak_concurrency": self._peaks[account],
                "peak_per_second": peaks_per_second[account],
                "in_flight": self._in_flight[account],
            }
            for account, calls in self._accounts.items()
        }
        return {
            "total": sum(self._kinds.values()),
            "by_kind": dict(self._kinds),
            "by_http_status": dict(self._statuses),
            "by_fault": dict(self._faults),
            "unknown_queue_ids": self._unknown_polls,
            "by_account": accounts,
            "trapped": {"requests": self._trapped["requests"], "with_key": self._trapped["with_key"]},
            "throttles": list(self._throttles),
            **({"instants": list(self._instants)} if with_instants else {}),
        }

    def _find_peaks_per_second(self) -> Counter[str]:
        """The most calls of each account within any one second (sliding, over the remembered calls)."""
        windows: defaultdict[str, deque[float]] = defaultdict(deque)
        peaks: Counter[str] = Counter()
        for instant, account, _ in self._instants:
            window = windows[account]
            window.append(instant)
            while window[0] <= instant - 1.0:
                window.popleft()
            peaks[account] = max(peaks[account], len(window))
        return peaks
