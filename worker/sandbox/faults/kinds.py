"""What a fault is: what it needs to know, and the three ways of going wrong. The table is in `__init__`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from worker.sandbox.protocol import Reply, encode_reply


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a fault may depend on: the options of its name, and how often it was played before."""

    root_url: str
    drip_seconds: float
    slow_seconds: float
    turn: int = 0
    at: int | None = None
    wait: int | None = None


@dataclass(slots=True)
class Wire:
    """One client's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Write bytes at the pace the client reads; ConnectionError once it has gone."""
        self.writer.write(data)
        await self.writer.drain()

    async def send_reply(self, reply: Reply) -> None:
        """Write a whole, honest reply."""
        await self.send(encode_reply(reply))

    async def wait_for_hangup(self) -> None:
        """Until the client gives up."""
        while await self.reader.read(4096):
            pass


Refuse = Callable[[Circumstances], Reply]
Mangle = Callable[[Reply, Circumstances], Reply]
Send = Callable[[Wire, Reply, Circumstances], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way of misbehaving.

    `refuse` answers in place of LeadByte, and nothing takes effect. `mangle` spoils the true answer and `send`
    the way it travels: whatever was asked for has taken effect by then, unless `acts` is False. `send` says
    whether the connection can go on. `tells_truth`: a patient, tolerant reader still learns what the record says.
    """

    name: str
    does: str
    refuse: Refuse | None = None
    mangle: Mangle | None = None
    send: Send | None = None
    tells_truth: bool = False
    acts: bool = True
