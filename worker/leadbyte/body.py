"""Taking in one answer's body to its end or to its cap, whatever it is packed in. Used by both transports."""

from __future__ import annotations

import zlib
from typing import Protocol

from worker.domain.answers import Silence

# gzip and zlib headers, detected; a sender may use either although we ask for neither.
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class UnusableBody(Exception):
    """The body can't be used; `why` says so to the lead."""

    def __init__(self, why: Silence) -> None:
        super().__init__(why.value)
        self.why = why


class Body(Protocol):
    """A body as it comes in."""

    def feed(self, part: bytes) -> None:
        """Take in what has come; UnusableBody if it is more than the cap, or not packed as was said."""

    def finish(self) -> bytes:
        """All of it, unpacked; UnusableBody if the packing is not at its end."""


def open_body(encoding: str | None, cap: int) -> Body:
    """For a body with this `Content-Encoding`, at most `cap` bytes when unpacked; UnusableBody for an unknown one."""
    encoding = (encoding or "identity").strip().lower()
    if encoding in {"", "identity"}:
        return _PlainBody(cap)
    if encoding in {"gzip", "x-gzip", "deflate"}:
        return _PackedBody(cap)
    raise UnusableBody(Silence.ENCODING)  # nested or unknown: no honest server does that to a JSON of a few kilobytes


class _PlainBody:
    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._taken = bytearray()

    def feed(self, part: bytes) -> None:
        self._taken += part
        if len(self._taken) > self._cap:
            raise UnusableBody(Silence.TOO_LARGE)

    def finish(self) -> bytes:
        return bytes(self._taken)


class _PackedBody:
    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._unpacked = bytearray()

    def feed(self, part: bytes) -> None:
        if self._unpacker.eof:
            raise UnusableBody(Silence.ENCODING)  # the unpacker would hoard whatever follows its end
        try:
            # Unpacked in bounded bites: a kilobyte of gzip can hold a megabyte.
            self._unpacked += self._unpacker.decompress(part, self._cap + 1 - len(self._unpacked))
        except zlib.error:
            raise UnusableBody(Silence.ENCODING) from None
        if len(self._unpacked) > self._cap:
            raise UnusableBody(Silence.TOO_LARGE)
        if self._unpacker.unused_data:
            raise UnusableBody(Silence.ENCODING)

    def finish(self) -> bytes:
        if not self._unpacker.eof:
            raise UnusableBody(Silence.BROKEN)
        return bytes(self._unpacked)
