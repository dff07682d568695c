"""Fetching and nothing else: libcurl's multi interface, keep-alive, as many requests at once as are allowed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import pycurl

_SELECT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """The last answer of each queue ID, and how long all of it took."""

    bodies: list[bytes]
    seconds: float


def fetch_all(base_url: str, queue_ids: Sequence[str], concurrency: int, polls: int = 1) -> Fetched:
    """Ask `polls` times about each queue ID; an answer about another lead is an error."""
    began_at = time.monotonic()
    multi = pycurl.CurlMulti()
    handles = [_make_handle() for _ in range(min(concurrency, len(queue_ids)))]
    bodies: list[bytes] = []
    for _ in range(polls):
        bodies = list(_fetch_once(multi, handles, base_url, queue_ids))
    for handle in handles:
        handle.close()
    multi.close()
    return Fetched(bodies, time.monotonic() - began_at)


def _make_handle() -> pycurl.Curl:
    handle = pycurl.Curl()
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.PROXY, "")
    handle.setopt(pycurl.TIMEOUT_MS, 15_000)
    return handle


def _fetch_once(
    multi: pycurl.CurlMulti, handles: list[pycurl.Curl], base_url: str, queue_ids: Sequence[str]
) -> Iterator[bytes]:
    waiting = iter(queue_ids)
    buffers: dict[pycurl.Curl, tuple[str, BytesIO]] = {}

    def ask(handle: pycurl.Curl) -> None:
        queue_id = next(waiting, None)
        if queue_id is not None:
            buffer = BytesIO()
            buffers[handle] = queue_id, buffer
            handle.setopt(pycurl.URL, f"{base_url}/apiqueue/{queue_id}?key=k")
            handle.setopt(pycurl.WRITEDATA, buffer)
            multi.add_handle(handle)

    for handle in handles:
        ask(handle)
    while buffers:
        multi.perform()
        _, done, failed = multi.info_read()
        if failed:
            raise RuntimeError(f"the upstream did not answer: {failed[0][2]}")
        for handle in done:
            multi.remove_handle(handle)
            queue_id, buffer = buffers.pop(handle)
            body = buffer.getvalue()
            if queue_id.encode() not in body:
                raise RuntimeError(f"the upstream answered about another lead than {queue_id}")
            yield body
            ask(handle)
        if not done:
            multi.select(_SELECT_SECONDS)
