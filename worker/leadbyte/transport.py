"""The seam between "these requests" and "their answers as they come": a window that is kept full.

Two implementations: `requests_transport` and `curl_transport`. Each keeps the same promises: a total deadline, a cap on
the decoded body while it streams, no redirects (clients forward `X_KEY` to the other host), no proxies or credentials
from the environment, TLS verified against certifi, in each lane at most `parallel` requests under way, none before its
moment or long after it (`worker.leadbyte.pace`), and nothing that leaves here holds a key or URL.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Protocol

from msgspec import Struct, field

from worker.domain.answers import Asked

# Bytes of a decoded body. LeadByte's replies have a few thousand; hundreds at the cap still fit into a worker's memory
# (two hundred of 2 MB took a gigabyte).
BODY_CAP = 256 * 1024
CONNECT_SECONDS = 5.0  # for finding the host and being let in; never more than the request's deadline

_LONG = 60.0  # an answer or the deadline comes sooner


class Request(Struct, frozen=True, gc=False):
    """One GET. `url` and `headers` may hold the key, so neither is shown by `repr`."""

    tag: Any  # the caller's own: comes back with the answer, as it is
    url: str
    headers: Mapping[str, str] = {}
    # `time.monotonic()` before which it may not leave; `pace.LATEST_SECONDS` later it is not sent any more.
    send_at: float = field(default_factory=time.monotonic)

    def __repr__(self) -> str:
        """Without what may hold the key, and what is the caller's."""
        return f"Request(send_at={self.send_at})"


def never_stop(_asked: Asked) -> bool:
    """Send everything, whatever comes back."""
    return False


class LaneLook(Struct, frozen=True, gc=False):
    """What a lane of a window is like.

    `is_stopped`: nothing more is sent of it, for an answer (`stop_after`) or by `stop_lane`. `is_quiet`: all that was
    added to it has left, or was given up. `answer_seconds`: how long its last few answers took from when they were
    asked for, the slower ones; inf: not known. `at_most`: so many of all lanes together may be under way just now.
    """

    is_stopped: bool = True
    is_quiet: bool = True
    answer_seconds: float = math.inf
    at_most: float = math.inf


GONE = LaneLook()


class Window(Protocol):
    """Requests under way for one process, in several lanes (one an account), none of which holds up another.

    For one thread alone. It must be taken from now and then: a transport may do its work inside `take`.
    """

    def open_lane(self, lane: int, parallel: int) -> None:
        """Let up to `parallel` requests of this lane be under way at once; of an open lane: from now on."""

    def add(self, lane: int, requests: Sequence[Request], gap_seconds: float = 0.0) -> None:
        """Have these asked, each at its moment; in a lane that was stopped they come back as `Silence.UNSENT`.

        `gap_seconds` lie between two moments of the budget: those that were held up don't leave in a bunch.
        """

    def take(self, timeout_seconds: float) -> list[tuple[int, Any, Asked]]:
        """(lane, tag, answer or why there is none) of all that has ended; waits at most this long for the first.

        Empty at once where nothing is awaited.
        """

    def stop_lane(self, lane: int) -> None:
        """Send nothing more of this lane: what is under way is waited for, the rest comes back as `Silence.UNSENT`.

        The lane is gone once the last of it has been taken.
        """

    def look_at(self, lane: int) -> LaneLook:
        """What the lane is like just now; of one that is gone, or never was, GONE."""

    def find_overrun(self, lane: int) -> float | None:
        """From which `time.monotonic()` on others may leave who don't know what left of this lane, or came late.

        None: they need not know, it was all in time. Inf while a request waits for its connection.
        """

    def __len__(self) -> int:
        """Requests added and not yet taken."""

    def close(self) -> None:
        """Drop everything, sent or not; idle connections stay with the transport."""


class Transport(Protocol):
    """Makes windows, and keeps connections between them."""

    def open_window(self, *, timeout_seconds: float, stop_after: Callable[[Asked], bool] = never_stop) -> Window:
        """A window whose requests have `timeout_seconds` each from the moment they leave.

        An answer for which `stop_after` holds stops its lane at once: it is called where the answer is first seen,
        which may be another thread.
        """

    def close(self) -> None:
        """Close idle connections."""


def fetch_many(
    transport: Transport,
    requests: Sequence[Request],
    *,
    parallel: int,
    timeout_seconds: float,
    stop_after: Callable[[Asked], bool] = never_stop,
) -> Iterator[tuple[Any, Asked]]:
    """Ask all in one lane; yields (tag, answer or why there is none) as they come. Closing it drops the rest."""
    with closing(transport.open_window(timeout_seconds=timeout_seconds, stop_after=stop_after)) as window:
        window.open_lane(0, parallel)
        window.add(0, requests)
        while len(window):
            for _, tag, asked in window.take(_LONG):
                yield tag, asked
