"""Drives many transfers at once in one thread: libcurl's multi interface over poll(2).

`socket_action` looks at one transfer for which something came; `perform` tries each, whether anything came for it or
not. Where most have an answer already that is cheaper by a sixth: one call for all, instead of one for each. Used by
`curl_transport`, which knows.
"""

from __future__ import annotations

import math
import select
import warnings
from collections.abc import Iterator
from functools import cache

import pycurl

from worker.leadbyte.curl_exchange import Exchange

# Deprecated since it looks at all where `socket_action` looks at one; here that is what it is for.
warnings.filterwarnings("ignore", "socket_all", DeprecationWarning)

# Kept for the next request. Each is a file descriptor, of which a process commonly has 1,024.
_MOST_CONNECTIONS = 512
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
        self._tries_all = False
        self._is_untold = False  # `perform` need not tell of the sockets that it went on with
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_NOTHING)
        self._multi.setopt(pycurl.M_MAXCONNECTS, _MOST_CONNECTIONS)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)

    def take_spare(self) -> Exchange:
        """An exchange to prepare, and then to `start` or to `put_back`."""
        return self._spare.pop() if self._spare else Exchange(self._opening.append)

    def put_back(self, exchange: Exchange) -> None:
        """It is not needed any more."""
        exchange.forget()
        self._spare.append(exchange)

    def try_all(self, *, is_cheaper: bool) -> None:
        """From now on try all that are under way, or look at those alone for which something came."""
        self._is_untold = self._is_untold or self._tries_all
        self._tries_all = is_cheaper

    def start(self, exchange: Exchange) -> None:
        """Have it sent at the next `send` or `run`."""
        self._under_way[exchange.easy] = exchange
        self._multi.add_handle(exchange.easy)

    def run(self, seconds: float) -> None:
        """Send and receive what is possible now; wait up to so long for something to do, or not at all."""
        if self._tries_all:
            self._multi.perform()
            if seconds > 0:  # nothing is left to try: the next time, it is waited for
                self.try_all(is_cheaper=False)
        elif self._is_untold:
            self._is_untold = False
            self._multi.socket_all()
        else:
            self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        wait, deadline = math.ceil(1000 * max(0.0, seconds)), self._multi.timeout()  # -1: libcurl has none
        for descriptor, event in self._poll.poll(wait if deadline < 0 else min(wait, deadline)):
            self._multi.socket_action(descriptor, _tell_libcurl(event))
        self.send()

    def send(self) -> None:
        """Send what was started, and do what libcurl has put off until now; what has come is mostly left to `run`."""
        if self._tries_all:
            self._multi.perform()
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
        return self._under_way.pop(easy)

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
