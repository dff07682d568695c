"""A LeadByte that costs next to nothing: HTTP/1.1 with keep-alive, bodies made beforehand, one process of its own.

`python -m tests.benchmarks.pipeline.upstream --latency-ms 50 --polls 3` says its port, and serves until it is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import cast

from tests.benchmarks.pipeline.replies import PLACE, list_stories, write_body, write_queued_body

_END = b"\r\n\r\n"
_BEFORE_ID = b"/apiqueue/"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_LONGEST_REQUEST = 8192
Halves = tuple[bytes, bytes]


def _cut(body: str) -> Halves:
    before, _, after = body.partition(PLACE)
    return before.encode(), after.encode()


class Answers:
    """Which answer a queue ID gets: `Queued` for the first `polls - 1` times, then its record."""

    def __init__(self, polls: int) -> None:
        self._polls = polls
        self._asked: dict[bytes, int] = {}
        self._queued = _cut(write_queued_body())
        stories = [_cut(write_body(record)) for record in list_stories()]
        self._verdicts = {b"%x" % digit: halves for digit, halves in enumerate(stories)}

    def answer(self, queue_id: bytes) -> bytes:
        """The whole response, head and body."""
        before, after = self._choose(queue_id)
        return (_HEAD % (len(before) + len(queue_id) + len(after))) + before + queue_id + after

    def _choose(self, queue_id: bytes) -> Halves:
        if self._polls > 1:
            asked = self._asked.get(queue_id, 0) + 1
            self._asked[queue_id] = asked
            if asked < self._polls:
                return self._queued
        return self._verdicts[queue_id[-1:]]


class Connection(asyncio.Protocol):
    """One client; requests may arrive in pieces, or several at once."""

    def __init__(self, answers: Answers, latency_seconds: float) -> None:
        self._answers = answers
        self._latency_seconds = latency_seconds
        self._begun = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass of it

    def data_received(self, data: bytes) -> None:
        *requests, self._begun = (self._begun + data).split(_END)
        for request in requests:
            self._respond(request)
        if len(self._begun) > _LONGEST_REQUEST:
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # clients come and go
        self._transport = None

    def _respond(self, request: bytes) -> None:
        line = request[: request.find(b"\r\n")] if b"\r\n" in request else request
        _, found, rest = line.partition(_BEFORE_ID)
        if not found:
            self._close()
            return
        answer = self._answers.answer(rest.partition(b" ")[0].partition(b"?")[0])
        if self._latency_seconds:
            asyncio.get_running_loop().call_later(self._latency_seconds, self._write, answer)
        else:
            self._write(answer)

    def _write(self, answer: bytes) -> None:
        if self._transport is not None:
            self._transport.write(answer)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def _serve(latency_seconds: float, polls: int) -> None:
    answers = Answers(polls)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(answers, latency_seconds), "127.0.0.1", 0, backlog=1024
    )
    sys.stdout.write(f"port {server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def _open_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # late: it comes with the extra `bench` alone
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The benchmark's LeadByte.")
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--polls", type=int, default=1)
    options = parser.parse_args()
    _open_loop().run_until_complete(_serve(options.latency_ms / 1000, options.polls))
