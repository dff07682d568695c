"""Fetching and nothing else: libcurl's multi interface as pycurl's documentation shows it, keep-alive.

As many requests at once as are allowed. Where answers take their time it goes by `socket_action`, as libcurl advises
for many transfers; where they come at once `perform` is cheaper.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import pycurl

_SELECT_SECONDS = 1.0
_EVENTS = {
    pycurl.POLL_IN: select.POLLIN,
    pycurl.POLL_OUT: select.POLLOUT,
    pycurl.POLL_INOUT: select.POLLIN | select.POLLOUT,
}


@dataclass(frozen=True, slots=True)
class Fetched:
    """The last answer of each queue ID, and how long all of it took."""

    bodies: list[bytes]
    seconds: float


def fetch_all(
    base_url: str, queue_ids: Sequence[str], concurrency: int, polls: int = 1, *, must_wait: bool = False
) -> Fetched:
    """Ask `polls` times about each queue ID; an answer about another lead is an error.

    `must_wait`: answers take their time. Then it is cheaper to look where something has come than to try all.
    """
    began_at = time.monotonic()
    multi = pycurl.CurlMulti()
    drive = _Sockets(multi).drive if must_wait else _make_perform(multi)
    handles = [_make_handle() for _ in range(min(concurrency, len(queue_ids)))]
    bodies: list[bytes] = []
    for _ in range(polls):
        bodies = list(_fetch_once(multi, drive, handles, base_url, queue_ids))
    for handle in handles:
        handle.close()
    multi.close()
    return Fetched(bodies, time.monotonic() - began_at)


def _make_perform(multi: pycurl.CurlMulti) -> Callable[[bool], None]:
    def drive(is_idle: bool) -> None:
        if is_idle:
            multi.select(_SELECT_SECONDS)
        multi.perform()

    return drive


class _Sockets:
    """Has libcurl look at those connections alone on which something came."""

    def __init__(self, multi: pycurl.CurlMulti) -> None:
        self._multi = multi
        self._poll = select.poll()
        self._wake_at = math.inf
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def drive(self, is_idle: bool) -> None:
        self._act_if_time()
        seconds = min(_SELECT_SECONDS, max(0.0, self._wake_at - time.monotonic())) if is_idle else 0.0
        for descriptor, event in self._poll.poll(math.ceil(1000 * seconds)):
            can_read = pycurl.CSELECT_IN if event & ~select.POLLOUT else 0
            self._multi.socket_action(descriptor, can_read | (pycurl.CSELECT_OUT if event & select.POLLOUT else 0))
        self._act_if_time()

    def _act_if_time(self) -> None:
        if self._wake_at <= time.monotonic():
            self._wake_at = math.inf
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def _watch(self, what: int, descriptor: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self._poll.unregister(descriptor)
        else:
            self._poll.register(descriptor, _EVENTS[what])

    def _set_timer(self, milliseconds: int) -> None:
        self._wake_at = math.inf if milliseconds < 0 else time.monotonic() + milliseconds / 1000


def _make_handle() -> pycurl.Curl:
    handle = pycurl.Curl()
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.PROXY, "")
    handle.setopt(pycurl.TIMEOUT_MS, 15_000)
    return handle


def _fetch_once(
    multi: pycurl.CurlMulti,
    drive: Callable[[bool], None],
    handles: list[pycurl.Curl],
    base_url: str,
    queue_ids: Sequence[str],
) -> Iterator[bytes]:
    waiting = iter(queue_ids)
    asked: dict[pycurl.Curl, tuple[str, BytesIO]] = {}

    def ask(handle: pycurl.Curl) -> None:
        queue_id = next(waiting, None)
        if queue_id is not None:
            buffer = BytesIO()
            asked[handle] = queue_id, buffer
            handle.setopt(pycurl.URL, f"{base_url}/apiqueue/{queue_id}?key=k")
            handle.setopt(pycurl.WRITEDATA, buffer)
            multi.add_handle(handle)

    for handle in handles:
        ask(handle)
    is_idle = False
    while asked:
        drive(is_idle)
        _, done, failed = multi.info_read()
        is_idle = not done
        if failed:
            raise RuntimeError(f"the upstream did not answer: {failed[0][2]}")
        for handle in done:
            multi.remove_handle(handle)
            queue_id, buffer = asked.pop(handle)
            body = buffer.getvalue()
            if queue_id.encode() not in body:
                raise RuntimeError(f"the upstream answered about another lead than {queue_id}")
            yield body
            ask(handle)
