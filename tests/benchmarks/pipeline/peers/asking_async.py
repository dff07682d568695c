"""Asking over asyncio streams, for the asynchronous peers: leaner than any HTTP client of Python's."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class StreamClient:
    """Keep-alive connections to one host, as many as are in use at once."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path
        self._idle: list[Streams] = []

    async def ask(self, queue_id: str) -> bytes:
        """The body of the answer about one queue ID."""
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        target = f"{self._path}/apiqueue/{queue_id}?key=k"
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n".encode())
        async with asyncio.timeout(15):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_read_length(head))
        self._idle.append((reader, writer))
        return body


def _read_length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
