"""The transport made of libcurl: one thread, any number of connections, a tenth of the CPU that `requests` needs.

All work is done inside `take`. A caller that stays away for a moment loses nothing: answers wait in the sockets.
A kept connection that the server closes at the very moment we use it is replaced by libcurl, which sends the request
again on a new one. That can't be turned off; it is a GET, and costs the budget one request for each connection lost so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from worker.domain.answers import Asked, NoAnswer, Silence
from worker.leadbyte.curl_exchange import Exchange
from worker.leadbyte.curl_loop import CurlLoop
from worker.leadbyte.lanes import Lanes
from worker.leadbyte.room import Room
from worker.leadbyte.transport import LaneLook, Request, never_stop

MOST_UNDER_WAY = 512  # of all lanes together: each is a file descriptor


class CurlTransport:
    """Windows over libcurl. One object a process, made after the fork; connections are kept between windows."""

    def __init__(self, make_loop: Callable[[], CurlLoop] = CurlLoop) -> None:
        self._make_loop = make_loop
        self._idle: list[CurlLoop] = []

    def open_window(self, *, timeout_seconds: float, stop_after: Callable[[Asked], bool] = never_stop) -> CurlWindow:
        """See `Transport`."""
        loop = self._idle.pop() if self._idle else self._make_loop()
        return CurlWindow(loop, self._idle, timeout_seconds, stop_after)

    def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            self._idle.pop().close()


class CurlWindow:
    """See `Window`."""

    def __init__(
        self, loop: CurlLoop, idle: list[CurlLoop], timeout_seconds: float, stop_after: Callable[[Asked], bool]
    ) -> None:
        self._loop, self._idle = loop, idle
        self._timeout_ms = max(1, int(timeout_seconds * 1000))
        self._stop_after = stop_after
        self._room = Room(MOST_UNDER_WAY)
        self._lanes = Lanes(self._room)
        self._started: list[Exchange] = []
        self._connecting: list[Exchange] = []
        self._ended: list[tuple[int, Any, Asked]] = []
        self._is_closed = False

    def open_lane(self, lane: int, parallel: int) -> None:
        """See `Window`."""
        self._lanes.open(lane, parallel)

    def add(self, lane: int, requests: Sequence[Request], gap_seconds: float = 0.0) -> None:
        """See `Window`."""
        self._lanes.add(lane, requests, gap_seconds)

    def stop_lane(self, lane: int) -> None:
        """See `Window`."""
        self._lanes.forget(lane)

    def take(self, timeout_seconds: float) -> list[tuple[int, Any, Asked]]:
        """See `Window`."""
        until = time.monotonic() + timeout_seconds
        self._send()
        self._look()
        while self._lanes and not self._ended and time.monotonic() < until:
            self._wait(until)
            self._collect()
            self._send()
        if self._ended:
            self._send()  # what has found room leaves before the caller is busy with these
        if self._started:
            self._loop.send()
            self._note_connections()
        taken, self._ended = self._ended, []
        self._lanes.note_taken(lane for lane, _, _ in taken)
        return taken

    def look_at(self, lane: int) -> LaneLook:
        """See `Window`."""
        return self._lanes.look_at(lane)

    def find_overrun(self, lane: int) -> float | None:
        """See `Window`."""
        return self._lanes.find_overrun(lane)

    def __len__(self) -> int:
        return len(self._lanes)

    def close(self) -> None:
        """See `Window`."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.drop_all()
            self._idle.append(self._loop)

    def _send(self) -> None:
        now = time.monotonic()
        for lane, request in self._lanes.give_up(now):
            self._ended.append((lane, request.tag, NoAnswer(Silence.UNSENT)))
        for lane, request in self._lanes.let_out(now):
            exchange = self._loop.take_spare()
            exchange.left_at = now
            if exchange.prepare(lane, request, self._timeout_ms):
                self._loop.start(exchange)
                self._started.append(exchange)
            else:
                self._note_end(exchange, NoAnswer(Silence.BROKEN), now)
                self._judge(self._ended[-1:])

    def _look(self) -> None:
        """Take in what has ended while the caller was busy."""
        under_way = self._lanes.under_way
        self._loop.run(0)
        self._note_connections()
        self._collect()
        ended = under_way - self._lanes.under_way
        self._room.note_look(under_way, ended=ended)
        self._loop.try_all(is_cheaper=2 * ended > under_way)

    def _wait(self, until: float) -> None:
        now, is_full = time.monotonic(), self._lanes.is_full()
        patience = self._room.patience if is_full else math.inf
        self._loop.run(min(until - now, self._lanes.find_next_moment() - now, patience))
        self._note_connections()
        if is_full:
            self._room.note_wait(time.monotonic() - now)

    def _note_connections(self) -> None:
        # What was started and is not sent waits for a connection, or for the host to be found; what was sent opens one
        # where the kept one turned out to be closed.
        waiting = [exchange for exchange in self._started if exchange.find_sent_at() is None]
        self._started.clear()
        for exchange in (*waiting, *self._loop.take_opening()):
            if not exchange.is_connecting:
                exchange.is_connecting = True
                self._lanes.note_connecting(exchange.lane, exchange.left_at)
                self._connecting.append(exchange)
        for exchange in self._connecting:
            if exchange.is_connecting and exchange.find_sent_at() is not None:
                self._note_sent(exchange)
        if self._connecting:
            self._connecting = [exchange for exchange in self._connecting if exchange.is_connecting]

    def _note_sent(self, exchange: Exchange) -> None:
        exchange.is_connecting = False
        self._lanes.note_sent(exchange.lane, exchange.find_sent_at())

    def _collect(self) -> None:
        before, now = len(self._ended), time.monotonic()
        for exchange, error in self._loop.collect():
            self._note_end(exchange, exchange.read_outcome(error), now)
        self._judge(self._ended[before:])

    def _note_end(self, exchange: Exchange, asked: Asked, now: float) -> None:
        if exchange.is_connecting:
            self._note_sent(exchange)
        self._lanes.end(exchange.lane, now - exchange.left_at)
        self._ended.append((exchange.lane, exchange.tag, asked))
        self._loop.put_back(exchange)

    def _judge(self, ended: Sequence[tuple[int, Any, Asked]]) -> None:
        for lane, _, asked in ended:
            must_stop = True  # where the caller's judgement fails, nothing more is sent
            try:
                must_stop = self._stop_after(asked)
            finally:
                if must_stop:
                    self._lanes.stop(lane)
