"""The seam between "these requests" and "their answers as they come"; `requests` is one implementation of it.

Every implementation keeps the same promises: a total deadline, a cap on the decoded body while it streams, no redirects
(clients forward `X_KEY` to the other host), no proxies or credentials from the environment, TLS verified against
certifi, at most `parallel` requests under way, none before its moment or long after it (`worker.leadbyte.pace`), and
nothing that leaves here holds a key or URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from worker.domain.answers import Asked

# Bytes of a decoded body. LeadByte's replies have a few thousand; a batch of 200 at the cap still fits a transaction's
# bound and a worker's memory (with 2 MB each it took a gigabyte and never settled).
BODY_CAP = 256 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One GET. `url` and `headers` may hold the key, so neither is shown by `repr`."""

    tag: int  # the caller's name for it: comes back with the answer
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    send_after_seconds: float = 0.0  # from the call of fetch_many


def never_stop(_asked: Asked) -> bool:
    """Send everything, whatever comes back."""
    return False


class Transport(Protocol):
    """Asks, and yields what comes back."""

    def fetch_many(
        self,
        requests: Sequence[Request],
        *,
        parallel: int,
        timeout_seconds: float,
        stop_after: Callable[[Asked], bool] = never_stop,
    ) -> Iterator[tuple[int, Asked]]:
        """Yield (tag, answer or why there is none) for every request, in the order in which they end.

        Once `stop_after` holds for an answer nothing more is sent: what is under way is waited for, and the rest comes
        back as `Silence.UNSENT`. It is called from the transport's threads, at once.
        """

    def close(self) -> None:
        """Close idle connections."""
