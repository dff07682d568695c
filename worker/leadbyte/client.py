"""Asks LeadByte about queue IDs: builds the request, keeps the key to itself.

The only module that handles the key: it goes into the request and is taken out of whatever comes back.
"""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from urllib.parse import quote

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic import SecretStr

from worker.accounts import Account
from worker.domain.answers import Answer, Asked
from worker.leadbyte.transport import LaneLook, Request, Transport, Window, never_stop

_PLAIN = re.compile(r"[A-Za-z0-9_~-]+", re.ASCII)  # in URLs as it is
_LONG = 60.0  # an answer or the deadline comes sooner


class Question(Struct, frozen=True, gc=False):
    """One queue ID to ask about: comes back with its answer, as it is. `tag` and `claim_id` are the caller's."""

    tag: int
    queue_id: str
    send_at: float = field(default_factory=time.monotonic)  # `time.monotonic()` before which it may not leave
    claim_id: int = 0


class LeadByteClient:
    """Polls queue IDs over a transport, under one total deadline a request."""

    def __init__(self, transport: Transport, timeout_seconds: float) -> None:
        self._transport = transport
        self.timeout_seconds = timeout_seconds

    def open_window(self, stop_after: Callable[[Asked], bool] = never_stop) -> PollWindow:
        """For any number of lanes at once; an answer for which `stop_after` holds ends its lane's asking."""
        return PollWindow(self._transport.open_window(timeout_seconds=self.timeout_seconds, stop_after=stop_after))

    def poll(
        self,
        account: Account,
        questions: Sequence[Question],
        parallel: int,
        stop_after: Callable[[Asked], bool] = never_stop,
    ) -> Iterator[tuple[int, Asked]]:
        """Ask these alone; yields (tag, answer) as they come. SettingsError if the account's key can't be read."""
        with closing(self.open_window(stop_after)) as window:
            window.add(account, 0, questions, parallel)
            while len(window):
                for _, question, asked in window.take(_LONG):
                    yield question.tag, asked

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()


class PollWindow:
    """Questions of several lanes under way at once. See `worker.leadbyte.transport.Window`."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._spellings: dict[int, list[bytes]] = {}  # of each lane's key

    def add(
        self, account: Account, lane: int, questions: Sequence[Question], parallel: int, gap: timedelta = timedelta(0)
    ) -> None:
        """Have `GET /apiqueue/{queueId}` asked for each question, `parallel` of the lane's at once.

        The documented place of the key is the query; whether the header works too is unknown (LeadByte, "API Queue").
        `gap` is the time between two moments of the budget. SettingsError if the account's key can't be read: none of
        these is asked then.
        """
        key = account.read_key()
        requests = [*map(_prepare_building(account, key), questions)]
        # The key may have been rotated since the lane's first questions.
        known = self._spellings.get(lane, [])
        self._spellings[lane] = list(dict.fromkeys([*known, *list_spellings(key.get_secret_value())]))
        self._window.open_lane(lane, parallel)
        self._window.add(lane, requests, gap.total_seconds())

    def take(self, timeout_seconds: float) -> list[tuple[int, Question, Asked]]:
        """(lane, question, answer) of what has ended; waits at most this long for the first."""
        return [
            (lane, question, take_key_out(asked, self._spellings[lane]))
            for lane, question, asked in self._window.take(timeout_seconds)
        ]

    def bound(self, lane: int, parallel: int) -> None:
        """From now on `parallel` of the lane's questions may be asked at once."""
        self._window.open_lane(lane, parallel)

    def look_at(self, lane: int) -> LaneLook:
        """What the lane is like just now."""
        return self._window.look_at(lane)

    def find_overrun(self, lane: int) -> float | None:
        """From which `time.monotonic()` on others may ask who don't know what left of this lane; None: from now on."""
        return self._window.find_overrun(lane)

    def stop(self, lane: int) -> None:
        """Ask nothing more in this lane; what was not sent comes back as `Silence.UNSENT`."""
        self._window.stop_lane(lane)

    def forget(self, lane: int) -> None:
        """The last of the lane's answers has been taken, and nothing more will be added."""
        self._window.stop_lane(lane)
        self._spellings.pop(lane, None)

    def __len__(self) -> int:
        """Questions added and not yet taken."""
        return len(self._window)

    def close(self) -> None:
        """Drop all that is under way."""
        self._window.close()


def _prepare_building(account: Account, key: SecretStr) -> Callable[[Question], Request]:
    """What makes a request of a question: the key is written once for all of them."""
    secret, begin = key.get_secret_value(), f"{account.base_url}/apiqueue/"
    end = f"?key={quote(secret, safe='')}" if account.auth == "query" else ""
    headers = {"X_KEY": secret} if account.auth == "header" else {}

    def build(question: Question) -> Request:
        queue_id = question.queue_id
        written = queue_id if _PLAIN.fullmatch(queue_id) else quote(queue_id, safe="")
        return Request(question, f"{begin}{written}{end}", headers, question.send_at)

    return build


def take_key_out(asked: Asked, spellings: Sequence[bytes]) -> Asked:
    """An error page may quote the request, and the journal keeps what was answered."""
    if not isinstance(asked, Answer):
        return asked
    body = asked.body
    for spelling in spellings:
        body = body.replace(spelling, b"***")
    return asked if body == asked.body else replace(asked, body=body)


def list_spellings(secret: str) -> list[bytes]:
    """The key as it is, and as URLs, JSON and HTML write it."""
    in_url = quote(secret, safe="")
    lower = re.sub("%..", lambda found: found[0].lower(), in_url)
    in_json = json.dumps(secret)[1:-1]
    spellings = {secret, in_url, lower, in_json, in_json.replace("/", "\\/"), html.escape(secret)}
    return sorted((spelling.encode() for spelling in spellings), key=len, reverse=True)
