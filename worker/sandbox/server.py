"""Connections: accepts them, serves each until it ends, and stops without leaving one open."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import Self

from worker.sandbox.control import PREFIX, answer_control
from worker.sandbox.dispatch import Sandbox
from worker.sandbox.faults import Wire
from worker.sandbox.protocol import MAX_HEADER_BYTES, Reply, UnreadableRequestError, read_request
from worker.sandbox.settings import SandboxSettings


class SandboxServer:
    """A sandbox listening; use as an async context manager."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._sandbox = Sandbox(settings)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.root_url = ""

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._server = await asyncio.start_server(
            self._accept, settings.host, settings.port, limit=MAX_HEADER_BYTES, backlog=1024
        )
        host, port = self._server.sockets[0].getsockname()[:2]
        self.root_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._sandbox.script.root_url = self.root_url
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve_connection(Wire(reader, writer)))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve_connection(self, wire: Wire) -> None:
        try:
            # A client that goes away in mid-answer is its own affair.
            with contextlib.suppress(ConnectionError):
                while await self._serve_request(wire):
                    pass
                wire.writer.close()
                await wire.writer.wait_closed()
        finally:
            # Stopped with bytes unsent: a client that does not read must not hold the sandbox up.
            wire.writer.transport.abort()

    async def _serve_request(self, wire: Wire) -> bool:
        try:
            request = await read_request(wire.reader, wire.writer)
        except UnreadableRequestError as problem:
            await wire.send_reply(Reply(problem.status, b"", (("Connection", "close"),)))
            return False
        if request is None:
            return False
        if request.path.startswith(PREFIX) and _is_loopback(wire):
            await wire.send_reply(answer_control(self._sandbox, request))
            return request.keeps_alive
        return await self._sandbox.answer_call(request, wire) and request.keeps_alive


def _is_loopback(wire: Wire) -> bool:
    address = wire.writer.get_extra_info("peername")[0]
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
