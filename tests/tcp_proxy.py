"""A TCP proxy on loopback that can be told, while it runs, to go wrong."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Mode = Literal["pass", "delay", "half_open", "reset"]
DELAY_SECONDS = 0.05


@dataclass
class _Link:
    client: socket.socket
    server: socket.socket
    reply_is_cut: bool = False

    def end(self) -> None:
        for sock in (self.client, self.server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Have the client's pump close with RST; a shutdown for writing would send an orderly FIN first."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.shutdown(socket.SHUT_RD)
        self.server.shutdown(socket.SHUT_RDWR)


class TcpProxy:
    """`mode` holds for bytes that arrive from now on: `half_open` swallows them, `reset` answers them with RST.

    While `cuts_commits`, a COMMIT reaches the server, and its reply is cut off; while `freezes_at_commit`, the next one
    reaches nobody, and `half_open` begins.
    """

    def __init__(self, host: str, port: int) -> None:
        self.mode: Mode = "pass"
        self.cuts_commits = False
        self.freezes_at_commit = False
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._links: list[_Link] = []
        self._told_to_stop = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self.port: int = self._listener.getsockname()[1]
        self._threads[0].start()

    def stop(self) -> None:
        self._told_to_stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for link in self._links:
            link.end()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._told_to_stop.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            link = _Link(client, socket.create_connection(self._target))
            self._links.append(link)
            for source, target in ((link.client, link.server), (link.server, link.client)):
                self._threads.append(threading.Thread(target=self._pump, args=(link, source, target)))
                self._threads[-1].start()

    def _pump(self, link: _Link, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and self._pass_on(link, data, source is link.client, target):
                pass
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR if self.mode != "reset" else socket.SHUT_RD)
        source.close()

    def _pass_on(self, link: _Link, data: bytes, is_request: bool, target: socket.socket) -> bool:
        if self.mode == "reset":
            link.reset()
            return False
        if is_request and self.freezes_at_commit and b"COMMIT" in data:
            self.mode = "half_open"
        if self.mode == "half_open":
            return True
        if self.mode == "delay":
            self._told_to_stop.wait(DELAY_SECONDS)
        if is_request and self.cuts_commits and b"COMMIT" in data:
            link.reply_is_cut = True
        if not is_request and link.reply_is_cut:
            return False
        target.sendall(data)
        return True


@contextmanager
def running_proxy(host: str, port: int) -> Iterator[TcpProxy]:
    """A proxy before that address for as long as the block lasts."""
    proxy = TcpProxy(host, port)
    try:
        yield proxy
    finally:
        proxy.stop()
