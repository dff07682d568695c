"""Drives many transfers at once in one thread: libcurl's multi interface over poll(2).

`socket_action` looks at one transfer for which something came; `perform` tries each, whether anything came for it or
not. Where most have an answer already that is cheaper by a sixth: nobody need be told of every socket. Used by
`curl_transport`, which knows.
"""

from __future__ import annotations

import math
import select
from collections.abc import Iterator
from functools import cache

import pycurl

from worker.leadbyte.curl_exchange import Exchange

# Kept for the next request. Each is a file descriptor, of which a process commonly has 1,024.
_MOST_CONNECTIONS = 512
_LONGEST_SELECT_SECONDS = 0.05  # what `perform` has sent ends soon, or was sent to a LeadByte that has become slow
_EVENTS = {
    pycurl.POLL_IN: select.POLLIN,
    pycurl.POLL_OUT: select.POLLOUT,
    pycurl.POLL_INOUT: select.POLLIN | select.POLLOUT,
}


class CurlLoop:
    """Transfers under way, and the connections and handles that are kept for the next."""

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._poll = select.poll()
        self._under_way: dict[pycurl.Curl, Exchange] = {}
        self._spare: list[Exchange] = []
        self._opening: list[Exchange] = []
        self._tries_all = self._is_performing = False
        self._unwatched: set[Exchange] = set()  # sent by `perform`, which need not tell of their sockets
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_NOTHING)
        self._multi.setopt(pycurl.M_MAXCONNECTS, _MOST_CONNECTIONS)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)

    def take_spare(self) -> Exchange:
        """An exchange to prepare, and then to `start` or to `put_back`."""
        return self._spare.pop() if self._spare else Exchange(self._note_opening)

    def put_back(self, exchange: Exchange) -> None:
        """It is not needed any more."""
        exchange.forget()
        self._spare.append(exchange)

    def try_all(self, *, is_cheaper: bool) -> None:
        """From now on try all that are under way, or look at those alone for which something came.

        Not every libcurl tells of the sockets of what `perform` has sent: until that has ended, all are tried.
        """
        self._tries_all = is_cheaper

    def start(self, exchange: Exchange) -> None:
        """Have it sent at the next `send` or `run`."""
        if self._tries_all:
            self._unwatched.add(exchange)
        self._under_way[exchange.easy] = exchange
        self._multi.add_handle(exchange.easy)

    def run(self, seconds: float) -> None:
        """Send and receive what is possible now; wait up to so long for something to do."""
        if self._tries_all or self._unwatched:
            self._run_all(seconds)
            return
        for descriptor, event in self._poll.poll(math.ceil(1000 * self._bound(seconds))):
            self._multi.socket_action(descriptor, _tell_libcurl(event))
        self.send()

    def _run_all(self, seconds: float) -> None:
        if seconds > 0 or not self._tries_all:
            self.send()  # first, so that `perform` sends none of those that are to be watched
            readers, writers, _ = self._multi.fdset()  # it leaves out descriptors that `select` can't take
            select.select(readers, writers, (), min(self._bound(seconds), _LONGEST_SELECT_SECONDS))
        self._perform()

    def _perform(self) -> None:
        self._is_performing = True
        self._multi.perform()
        self._is_performing = False

    def _bound(self, seconds: float) -> float:
        """So long, but no longer than until libcurl wants to look at its deadlines."""
        milliseconds = self._multi.timeout()
        return max(0.0, seconds) if milliseconds < 0 else max(0.0, min(seconds, milliseconds / 1000))

    def send(self) -> None:
        """Send what was started, and do what libcurl has put off until now; what has come is mostly left to `run`."""
        if self._tries_all:
            self._perform()
        elif self._multi.timeout() == 0:
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def take_opening(self) -> list[Exchange]:
        """Exchanges for which a connection was begun to be made."""
        taken = [exchange for exchange in self._opening if exchange.easy in self._under_way]
        self._opening.clear()
        return taken

    def collect(self) -> Iterator[tuple[Exchange, int]]:
        """Each exchange that has ended, with libcurl's error code or 0. Put it back when it has been read."""
        left = 1
        while left:
            left, well, ill = self._multi.info_read()
            for easy in well:
                yield self._finish(easy), 0
            for easy, error, _ in ill:
                yield self._finish(easy), error

    def drop_all(self) -> None:
        """Give up all that is under way, with its connections."""
        while self._under_way:
            self.put_back(self._finish(next(iter(self._under_way))))

    def close(self) -> None:
        """Close idle connections."""
        self.drop_all()
        self._multi.close()
        for exchange in self._spare:
            exchange.easy.close()

    def _finish(self, easy: pycurl.Curl) -> Exchange:
        self._multi.remove_handle(easy)
        exchange = self._under_way.pop(easy)
        self._unwatched.discard(exchange)
        return exchange

    def _note_opening(self, exchange: Exchange) -> None:
        self._opening.append(exchange)
        if self._is_performing:
            self._unwatched.add(exchange)

    def _watch(self, what: int, descriptor: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self._poll.unregister(descriptor)
        else:
            self._poll.register(descriptor, _EVENTS[what])


@cache  # of the few that there are: made anew each time, it cost as much as the answer's way through `poll`
def _tell_libcurl(event: int) -> int:
    mask = pycurl.CSELECT_IN if event & select.POLLIN else 0
    mask |= pycurl.CSELECT_OUT if event & select.POLLOUT else 0
    return mask | (pycurl.CSELECT_ERR if event & ~(select.POLLIN | select.POLLOUT) else 0)
