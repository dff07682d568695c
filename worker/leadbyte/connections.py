"""Connections that can be cut from outside in any phase, and whose answers count only when they came whole.

urllib3 shows its socket neither during the TLS handshake nor once an answer says `Connection: close`, and http.client
takes the end of the stream for the end of the headers. Neighbours: `sessions` and `acting` (which ask over them),
`host_lookup`, `worker.watchdog` (which cuts).
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, cast

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

from worker.leadbyte.host_lookup import Addresses, host_lookups
from worker.watchdog import shut_down


class Line:
    """What one request runs over, held by a descriptor of our own for as long as the request lasts."""

    def __init__(self, on_sent: Callable[[], None]) -> None:
        self._on_sent = on_sent
        self._lock = threading.Lock()
        self._descriptor = -1
        self._is_cut = False
        self._has_news = threading.Event()
        self.is_sent = False

    def note_connection(self) -> None:
        """There is one: the request is sent now; said by whoever finds or makes it."""
        if not self.is_sent:
            self.is_sent = True
            self._on_sent()

    def hold(self, sock: socket.socket) -> None:
        """From now on the request runs over this socket; TimeoutError if the line was cut already."""
        with self._lock:
            if self._is_cut:
                raise TimeoutError("the deadline passed before there was a connection")
            self._let_go()
            self._descriptor = os.dup(sock.fileno())

    def wait_for(self, lookup: Future[Addresses], seconds: float | None) -> Addresses:
        """What it finds; TimeoutError where the line is cut before that, or so many seconds have passed."""
        lookup.add_done_callback(lambda _: self._has_news.set())
        self._has_news.wait(seconds)
        if not lookup.done():
            raise TimeoutError("the host was not found in time")
        return lookup.result()

    def cut(self) -> None:
        """Shut it down, now or as soon as there is something to shut down; called by the watchdog."""
        self._has_news.set()
        with self._lock:
            self._is_cut = True
            shut_down(self._descriptor)

    def release(self) -> None:
        """The request is over."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


_thread = threading.local()  # .line: what this thread's request runs over


@contextmanager
def hold_line(on_sent: Callable[[], None] = lambda: None) -> Iterator[Line]:
    """The line of the one request that this thread makes inside the block; `on_sent` is called once it has one."""
    line = _thread.line = Line(on_sent)
    try:
        yield line
    finally:
        line.release()


class _WholeLines(io.BufferedReader):
    def readline(self, size: int | None = -1, /) -> bytes:
        """As ever, but a line that the end of the stream cut off is an error."""
        line = super().readline(size)
        if not line.endswith(b"\n") and (size is None or not 0 <= size <= len(line)):
            raise ConnectionResetError("the answer ended within a line")
        return line


class _WholeAnswer(http.client.HTTPResponse):
    """An answer whose status, headers and chunk sizes are taken only from lines that came to their end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on as they are
        super().__init__(*args, **kwargs)
        self.fp = _WholeLines(self.fp.detach())

    def begin(self) -> None:
        """As ever, but a hint like 103 is not taken for the answer: the real one would then be the next lead's."""
        super().begin()
        if self.status < http.HTTPStatus.OK:
            raise http.client.BadStatusLine(str(self.status))


class _Watched:
    """Mixed into both kinds of connection: puts whatever it uses on this thread's line."""

    response_class: Any = _WholeAnswer

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on as they are
        ours = cast("HTTPConnection", self)
        if ours.sock is not None:
            _thread.line.hold(ours.sock)
            _thread.line.note_connection()
        super().request(*args, **kwargs)  # type: ignore[misc]  # of HTTPConnection, beside which this stands

    def connect(self) -> None:
        """As ever, and the line is told."""
        super().connect()  # type: ignore[misc]  # of HTTPConnection
        _thread.line.note_connection()

    def _new_conn(self) -> socket.socket:
        """In place of urllib3's, which grants each address of the host the whole timeout anew."""
        ours = cast("HTTPConnection", self)
        try:
            found = _thread.line.wait_for(host_lookups.look_up(ours.host, ours.port), ours.timeout)
        except (OSError, UnicodeError):
            raise NewConnectionError(ours, "the host was not found") from None
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                _thread.line.hold(sock)
                sock.settimeout(ours.timeout)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
            except OSError:
                sock.close()
            else:
                return sock
        raise NewConnectionError(ours, "none of the host's addresses answers")


class WatchedHTTPConnection(_Watched, HTTPConnection):
    """Over TCP."""


class WatchedHTTPSConnection(_Watched, HTTPSConnection):
    """Over TLS."""


class _WatchedHTTPPool(HTTPConnectionPool):
    ConnectionCls = WatchedHTTPConnection


class _WatchedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = WatchedHTTPSConnection


class WatchedAdapter(HTTPAdapter):
    """Has requests use these connections."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on as they are
        """As ever, with our kinds of connection."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _WatchedHTTPPool, "https": _WatchedHTTPSPool}
