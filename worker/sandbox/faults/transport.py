"""Faults of the connection: too slow, cut, reset, wrong about its length, without end. Content is `bodies.py`."""

from __future__ import annotations

import asyncio
import functools
import gzip
import socket
import struct

from worker.sandbox.faults.kinds import Circumstances, Fault, Wire
from worker.sandbox.protocol import JSON_TYPE, Reply, encode_head, encode_reply

_CHUNK = b" " * 65536
_HUGE_BYTES = 100 * 1024 * 1024
_BOMB_MEMBERS = 100
_BOMB_MEMBER_BYTES = 10 * 1024 * 1024


async def _hang(wire: Wire, _reply: Reply, _by: Circumstances) -> bool:
    await wire.wait_for_hangup()
    return False


async def _send_late(wire: Wire, reply: Reply, by: Circumstances) -> bool:
    await asyncio.sleep(by.slow_seconds if by.wait is None else by.wait)
    await wire.send_reply(reply)
    return True


async def _drip(wire: Wire, reply: Reply, by: Circumstances) -> bool:
    data = encode_reply(reply)
    for place in range(len(data)):
        await wire.send(data[place : place + 1])
        await asyncio.sleep(by.drip_seconds)
    return True


async def _cut(wire: Wire, reply: Reply, by: Circumstances) -> bool:
    data = encode_reply(reply)
    middle_of_body = len(data) - len(reply.body) // 2
    await wire.send(data[: middle_of_body if by.at is None else by.at])
    return False


async def _cut_head(wire: Wire, reply: Reply, _by: Circumstances) -> bool:
    await wire.send(encode_reply(reply)[:20])
    return False


async def _reset(wire: Wire, _reply: Reply, _by: Circumstances) -> bool:
    # Closing with a linger of zero sends RST, where a plain close would send an orderly FIN.
    wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()
    return False


async def _hang_up(_wire: Wire, _reply: Reply, _by: Circumstances) -> bool:
    return False


async def _promise_more(wire: Wire, reply: Reply, _by: Circumstances) -> bool:
    await wire.send(encode_reply(reply, length=len(reply.body) + 100))
    return False


async def _promise_less(wire: Wire, reply: Reply, _by: Circumstances) -> bool:
    await wire.send(encode_reply(reply, length=len(reply.body) // 2))
    return True


async def _send_huge(wire: Wire, reply: Reply, _by: Circumstances) -> bool:
    await wire.send(encode_head(reply.status, (JSON_TYPE, ("Content-Length", str(_HUGE_BYTES)))))
    for _ in range(_HUGE_BYTES // len(_CHUNK)):
        await wire.send(_CHUNK)
    return True


async def _send_endless(wire: Wire, reply: Reply, _by: Circumstances) -> bool:
    await wire.send(encode_head(reply.status, (JSON_TYPE, ("Transfer-Encoding", "chunked"))))
    chunk = b"%x\r\n%s\r\n" % (len(_CHUNK), _CHUNK)
    while True:
        await wire.send(chunk)


@functools.cache
def _pack_bomb() -> bytes:
    # A gzip file may be many members in a row: one is packed, and sent a hundred times.
    return gzip.compress(b" " * _BOMB_MEMBER_BYTES) * _BOMB_MEMBERS


async def _send_bomb(wire: Wire, reply: Reply, _by: Circumstances) -> bool:
    bomb = Reply(reply.status, _pack_bomb(), (JSON_TYPE, ("Content-Encoding", "gzip")))
    await wire.send_reply(bomb)
    return True


async def _send_huge_headers(wire: Wire, reply: Reply, _by: Circumstances) -> bool:
    many = tuple((f"X-Filler-{number}", "x" * 8000) for number in range(500))
    await wire.send_reply(Reply(reply.status, reply.body, (*reply.headers, *many)))
    return True


TRANSPORT_FAULTS = (
    Fault("hang", "takes the request and never answers", send=_hang),
    Fault("slow", "answers rightly, but only after 3 (or waitN) seconds", send=_send_late, tells_truth=True),
    Fault("drip", "answers rightly, one byte every half second", send=_drip, tells_truth=True),
    Fault("cut", "closes the connection in mid-body, or after byte atN", send=_cut),
    Fault("cuthead", "closes the connection in mid-header", send=_cut_head),
    Fault("reset", "resets the connection (RST) once it has acted", send=_reset),
    Fault("lostrequest", "closes without a byte and without having acted", send=_hang_up, acts=False),
    Fault("lostreply", "acts, then closes without a single byte", send=_hang_up),
    Fault("wronglength", "promises 100 bytes more than it sends, then closes", send=_promise_more),
    Fault("shortlength", "sends more than Content-Length says, keeps the connection", send=_promise_less),
    Fault("huge", "a body of 100 MB", send=_send_huge),
    Fault("endless", "chunks without end", send=_send_endless),
    Fault("gzipbomb", "1 MB that unpacks to 1 GB", send=_send_bomb),
    Fault("hugeheaders", "4 MB of headers, then the right answer", send=_send_huge_headers),
)
