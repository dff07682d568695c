"""A TCP proxy that breaks acting requests off at a chosen stage and byte, one connection at a time; polls pass."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from tests.tcp_proxy import TcpProxy, _Link

Stage = Literal[
    "pass",
    "reset",  # before any byte of the request is passed on
    "swallow",  # likewise, and closed in an orderly way
    "within request",  # after so many of its bytes
    "before answer",  # the request was passed on and done
    "within answer",  # after so many of its bytes
    "bad gateway",  # done, and answered by somebody in between
]
_LONGEST_REQUEST, _LONGEST_ANSWER = 420, 360  # bytes, about; a cut beyond the end cuts nothing
_BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class _Conversation:
    stage: Stage
    cut_at: int
    link: _Link  # kept, so that its id is nobody else's
    passed: Counter[bool] = field(default_factory=Counter)  # bytes, by whether they were the request's


class CuttingProxy(TcpProxy):
    """`weights` says how often each stage is chosen, and may be changed at any time; `cuts` counts what was cut."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self.weights: Mapping[Stage, int] = {"pass": 1}
        self.cuts: Counter[Stage] = Counter()
        self._chance = random.Random(seed)
        self._conversations: dict[int, _Conversation] = {}
        super().__init__(host, port)

    def _pass_on(self, link: _Link, data: bytes, is_request: bool, target: socket.socket) -> bool:
        if is_request and id(link) not in self._conversations and data.startswith((b"PUT", b"POST")):
            self._conversations[id(link)] = self._begin(link)
        talk = self._conversations.get(id(link))
        if talk is None or self._count_allowed(talk, is_request) is None:
            return super()._pass_on(link, data, is_request, target)
        return self._cut(talk, data, is_request, target)

    def _begin(self, link: _Link) -> _Conversation:
        (stage,) = self._chance.choices(list(self.weights), list(self.weights.values()))
        longest = _LONGEST_REQUEST if stage == "within request" else _LONGEST_ANSWER
        return _Conversation(stage, self._chance.randrange(1, longest), link)

    def _count_allowed(self, talk: _Conversation, is_request: bool) -> int | None:
        """How many bytes of this direction may pass; None: all."""
        if is_request:
            return {"reset": 0, "swallow": 0, "within request": talk.cut_at}.get(talk.stage)
        return {"before answer": 0, "bad gateway": 0, "within answer": talk.cut_at}.get(talk.stage)

    def _cut(self, talk: _Conversation, data: bytes, is_request: bool, target: socket.socket) -> bool:
        left = (self._count_allowed(talk, is_request) or 0) - talk.passed[is_request]
        talk.passed[is_request] += len(data)
        if len(data) <= left:
            target.sendall(data)
            return True
        self.cuts[talk.stage] += 1
        if talk.stage == "reset":
            talk.link.reset()
        elif talk.stage == "bad gateway":
            target.sendall(_BAD_GATEWAY)
        else:
            target.sendall(data[:left])
        return False


@contextmanager
def running_cutting_proxy(host: str, port: int, seed: int) -> Iterator[CuttingProxy]:
    """Before that address for as long as the block lasts."""
    proxy = CuttingProxy(host, port, seed)
    try:
        yield proxy
    finally:
        proxy.stop()
