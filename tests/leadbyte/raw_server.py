"""A server on loopback that says exactly the bytes a test gives it, for what no honest server does."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

JSON_OK = b'{"status":"Success"}'


class Conversation:
    """One accepted connection."""

    def __init__(self, sock: socket.socket, server: RawServer) -> None:
        self._sock = sock
        self._server = server

    def read_request(self) -> bytes:
        """The next request's head; empty once the client has gone."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (part := self._sock.recv(65536)):
                return b""
            head += part
        self._server.requests.append(head)
        return head

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def drip(self, data: bytes, every_seconds: float) -> None:
        """One byte at a time until the client goes away or the server ends."""
        for place in range(len(data)):
            self._sock.sendall(data[place : place + 1])
            if self._server.told_to_stop.wait(every_seconds):
                return

    def wait_for_hangup(self) -> None:
        while self._sock.recv(65536):
            pass

    def reset(self) -> None:
        """Have the coming close send RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Speak = Callable[[Conversation], None]


class Tls(Protocol):
    """What is needed of an `ssl.SSLContext`."""

    def wrap_socket(self, sock: socket.socket, *, server_side: bool) -> ssl.SSLSocket: ...


class RawServer:
    """Listens, counts connections, keeps the heads of all requests."""

    def __init__(self, speak: Speak, tls: Tls | None) -> None:
        self._speak = speak
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.connections = 0
        self.requests: list[bytes] = []
        self.told_to_stop = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"
        self._threads[0].start()

    def stop(self) -> None:
        self.told_to_stop.set()
        for sock in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self.told_to_stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            self._threads.append(threading.Thread(target=self._converse, args=(sock,)))
            self._threads[-1].start()

    def _converse(self, sock: socket.socket) -> None:
        # A client that hangs up in mid-answer is what most of these tests are about.
        with contextlib.suppress(OSError), sock:
            if self._tls is None:
                self._speak(Conversation(sock, self))
                return
            with self._tls.wrap_socket(sock, server_side=True) as wrapped:
                self._open.append(wrapped)
                self._speak(Conversation(wrapped, self))


@contextmanager
def serve(speak: Speak, tls: Tls | None = None) -> Iterator[RawServer]:
    """A server whose every connection is led by `speak`, for as long as the block lasts."""
    server = RawServer(speak, tls)
    try:
        yield server
    finally:
        server.stop()


def always(reply: bytes, *, keeps: bool = False) -> Speak:
    """Answer each request with these bytes; close after the first unless it keeps the connection."""

    def speak(conversation: Conversation) -> None:
        while conversation.read_request():
            conversation.send(reply)
            if not keeps:
                return

    return speak


def encode(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """An honest answer with a length, and further headers."""
    lines = "".join(f"{line}\r\n" for line in (*headers, f"Content-Length: {len(body)}"))
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1") + body
