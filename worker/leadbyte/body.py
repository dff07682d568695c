"""Reading one answer's body to its end or to its cap, whatever it is packed in."""

from __future__ import annotations

import zlib

from urllib3.response import BaseHTTPResponse

from worker.domain.answers import Silence

_CHUNK = 64 * 1024
# gzip and zlib headers, detected; a sender may use either although we ask for neither.
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class UnusableBody(Exception):
    """The body can't be used; `why` says so to the lead."""

    def __init__(self, why: Silence) -> None:
        super().__init__(why.value)
        self.why = why


def read_body(response: BaseHTTPResponse, cap: int) -> bytes:
    """The decoded body, at most `cap` bytes.

    Raises:
        UnusableBody: it is larger, or in an encoding that nobody asked for.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"", "identity"}:
        return _read_plain(response, cap)
    if encoding in {"gzip", "x-gzip", "deflate"}:
        return _read_packed(response, cap)
    raise UnusableBody(Silence.ENCODING)  # nested or unknown: no honest server does that to a JSON of a few kilobytes


def _read_plain(response: BaseHTTPResponse, cap: int) -> bytes:
    body = bytearray()
    # read1, not read: it returns what has come, so that the deadline is looked at between drops.
    while part := response.read1(_CHUNK, decode_content=False):
        body += part
        if len(body) > cap:
            raise UnusableBody(Silence.TOO_LARGE)
    return bytes(body)


def _read_packed(response: BaseHTTPResponse, cap: int) -> bytes:
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    unpacked = bytearray()
    # Unpacked in bounded bites: a kilobyte of gzip can hold a megabyte.
    while packed := response.read1(_CHUNK, decode_content=False):
        if unpacker.eof:
            raise UnusableBody(Silence.ENCODING)  # the unpacker would hoard whatever follows its end
        try:
            unpacked += unpacker.decompress(packed, cap + 1 - len(unpacked))
        except zlib.error:
            raise UnusableBody(Silence.ENCODING) from None
        if len(unpacked) > cap:
            raise UnusableBody(Silence.TOO_LARGE)
        if unpacker.unused_data:
            raise UnusableBody(Silence.ENCODING)
    if not unpacker.eof:
        raise UnusableBody(Silence.BROKEN)
    return bytes(unpacked)
