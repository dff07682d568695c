"""One request and its answer over a libcurl easy handle, which serves many of them one after another.

Neighbours: `curl_transport` (which keeps many under way), `worker.leadbyte.body` (packed bodies).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import certifi
import pycurl

from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.leadbyte.body import UnusableBody, open_body
from worker.leadbyte.transport import BODY_CAP, CONNECT_SECONDS, Request

_OK = 0
_FIRST_FINAL = int(HTTPStatus.OK)
_EMPTY_LINES = frozenset({b"\r\n", b"\n"})
_ABORTED = 0  # what the body's receiver returns to end it
_LONGEST_REMEMBERED = 4096  # bytes of a head
_RAW_CAP = BODY_CAP + 4096  # as it comes in: packing adds a little to what can't be packed
_OUR_HEADERS = [
    "Accept: application/json",
    # Identity: the replies are small, and nothing then has to be unpacked.
    "Accept-Encoding: identity",
    f"User-Agent: lead-resolver/{version('lead-resolver')}",
]
_OPTIONS = {
    pycurl.HTTPGET: 1,
    pycurl.FOLLOWLOCATION: 0,
    pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
    # Not HTTP/2, although libcurl could: requests that share a connection also share its fate and its congestion, and
    # `parallel` then means something else to a server that counts connections.
    pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
    pycurl.HTTP09_ALLOWED: 0,
    # The environment has no say: neither its proxies nor ~/.netrc.
    pycurl.PROXY: "",
    pycurl.NOPROXY: "*",
    pycurl.NETRC: pycurl.NETRC_IGNORED,
    pycurl.SSL_VERIFYPEER: 1,
    pycurl.SSL_VERIFYHOST: 2,
    # Other threads' signals are not for libcurl to handle; its resolver has a thread of its own.
    pycurl.NOSIGNAL: 1,
    pycurl.NOPROGRESS: 1,
}
_TLS_ERRORS = frozenset(
    {
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_SSL_CIPHER,
        pycurl.E_SSL_ISSUER_ERROR,
        pycurl.E_SSL_SHUTDOWN_FAILED,
    }
)
_SILENCES = {
    pycurl.E_COULDNT_RESOLVE_HOST: Silence.CONNECTION,
    pycurl.E_COULDNT_CONNECT: Silence.CONNECTION,
    pycurl.E_BAD_CONTENT_ENCODING: Silence.ENCODING,
    **dict.fromkeys(_TLS_ERRORS, Silence.TLS),
}
_FIELDS = re.compile(rb"^(retry-after|content-encoding|content-length):([^\n]*)", re.IGNORECASE | re.MULTILINE)
# The whole head of nearly every answer: nothing before or after it, and of what we go by a length at most.
_OTHER_LINES = rb"(?:(?!(?i:retry-after|content-encoding|content-length):)[^\r\n][^\n]*\n)*"
_PLAIN_HEAD = re.compile(
    rb"HTTP/1\.[01] ([2-5][0-9]{2})(?![0-9])[^\n]*\n"
    + _OTHER_LINES
    + rb"(?:(?i:content-length):[^\n]*\n"
    + _OTHER_LINES
    + rb")?\r?\n"
)


class Exchange:
    """An easy handle with its buffers. Only what differs from one request to the next is set anew."""

    def __init__(self, on_opening: Callable[[Exchange], None]) -> None:
        self.lane = 0
        self.tag: Any = None  # the request's
        self.left_at = 0.0  # `time.monotonic()`
        self._on_opening = on_opening
        self.is_connecting = False  # known to the lane's pace to wait for a new connection
        self.easy = pycurl.Curl()
        self._head: list[bytes] = []  # line by line
        self._body: list[bytes] = []
        self._size = 0
        self._timeout_ms = 0
        self._headers: Mapping[str, str] = {}
        for option, value in _OPTIONS.items():
            self.easy.setopt(option, value)
        self.easy.setopt(pycurl.CAINFO, certifi.where())
        self.easy.unsetopt(pycurl.CAPATH)  # nor the system's authorities, where libcurl was built to know them
        # Called for each socket that is made, and so never where a connection is used again.
        self.easy.setopt(pycurl.SOCKOPTFUNCTION, self._note_socket)
        self.easy.setopt(pycurl.HTTPHEADER, _OUR_HEADERS)
        self.easy.setopt(pycurl.HEADERFUNCTION, self._head.append)
        self.easy.setopt(pycurl.WRITEFUNCTION, self._take_in)

    def prepare(self, lane: int, request: Request, timeout_ms: int) -> bool:
        """Make the handle ready to be sent; False if this can't be a request."""
        self.lane, self.tag = lane, request.tag
        try:
            self.easy.setopt(pycurl.URL, request.url)
            self._set_what_differs(request.headers, timeout_ms)
        except (pycurl.error, ValueError, TypeError):  # their texts may hold the URL
            return False
        return True

    def find_sent_at(self) -> float | None:
        """When the request was sent, `time.monotonic()`; None: it has no connection yet."""
        seconds: float = self.easy.getinfo(pycurl.PRETRANSFER_TIME)
        return self.left_at + seconds if seconds > 0 else None

    def forget(self) -> None:
        """Let go of the answer: handles are many, and kept."""
        self.is_connecting = False
        self.tag = None
        self._head.clear()
        self._body.clear()
        self._size = 0

    def _set_what_differs(self, headers: Mapping[str, str], timeout_ms: int) -> None:
        if headers != self._headers:
            self.easy.setopt(pycurl.HTTPHEADER, [*_OUR_HEADERS, *(f"{name}: {headers[name]}" for name in headers)])
            self._headers = headers
        if timeout_ms != self._timeout_ms:
            self.easy.setopt(pycurl.TIMEOUT_MS, timeout_ms)
            self.easy.setopt(pycurl.CONNECTTIMEOUT_MS, min(timeout_ms, int(CONNECT_SECONDS * 1000)))
            self._timeout_ms = timeout_ms

    def _note_socket(self, *_: object) -> int:
        self._on_opening(self)
        return int(pycurl.SOCKOPT_OK)

    def _take_in(self, part: bytes) -> int | None:
        self._size += len(part)
        self._body.append(part)
        return _ABORTED if self._size > _RAW_CAP else None

    def read_outcome(self, error: int) -> Asked:
        """The answer, or why there is none; `error` is libcurl's code, whose text may hold the URL and is not read."""
        is_too_large = error == pycurl.E_WRITE_ERROR and self._size > _RAW_CAP
        if error != _OK and not is_too_large:
            return NoAnswer(self._explain(error))
        head_as_sent = b"".join(self._head)
        if self._size <= BODY_CAP and len(head_as_sent) <= _LONGEST_REMEMBERED:
            plain_status = _read_plain_status(head_as_sent)
            if plain_status is not None:
                return Answer(plain_status, b"".join(self._body))
        status, head = self.easy.getinfo(pycurl.RESPONSE_CODE), _find_last_head(self._head)
        if status < _FIRST_FINAL or not head:
            return NoAnswer(Silence.BROKEN)
        try:
            return _read_answer(status, head, self._body, is_too_large=is_too_large)
        except UnusableBody as unusable:
            return NoAnswer(unusable.why)

    def _explain(self, error: int) -> Silence:
        if error == pycurl.E_OPERATION_TIMEDOUT:
            # Nobody there within CONNECT_SECONDS is not the same as no answer within the deadline.
            is_before_deadline = self.easy.getinfo(pycurl.TOTAL_TIME) * 1000 < self._timeout_ms
            is_unconnected = not self.easy.getinfo(pycurl.CONNECT_TIME)
            return Silence.CONNECTION if is_before_deadline and is_unconnected else Silence.TIMEOUT
        return _SILENCES.get(error, Silence.BROKEN)


@lru_cache(256)  # of answers in the same second, those of one length have the same head
def _read_plain_status(head: bytes) -> int | None:
    """The status of an answer whose head has nothing that we go by; None if it has, or is none of a final answer."""
    found = _PLAIN_HEAD.fullmatch(head)
    return int(found[1]) if found is not None else None


def _find_last_head(lines: list[bytes]) -> list[bytes]:
    """The answer's own head without its empty line, since hints like 103 come before it, and trailers after.

    Nothing if it broke off: libcurl takes the end of the stream for the end of the headers.
    """
    head: list[bytes] = []
    block: list[bytes] = []
    for line in lines:
        if line not in _EMPTY_LINES:
            block.append(line)
            continue
        if _is_head(block):
            head = block
        block = []
    return [] if _is_head(block) else head


def _is_head(block: list[bytes]) -> bool:
    return bool(block) and block[0].startswith(b"HTTP/1.")


def _read_answer(status: int, head: list[bytes], parts: list[bytes], *, is_too_large: bool) -> Answer:
    fields = _read_fields(head)
    if len(set(fields.get(b"content-length", ()))) > 1:
        raise UnusableBody(Silence.BROKEN)  # older libcurls believe the last, and the answer may be cut
    retry_after = fields.get(b"retry-after")
    body = open_body(b", ".join(fields.get(b"content-encoding", ())).decode("latin-1"), BODY_CAP)
    for part in parts:
        body.feed(part)
    if is_too_large:
        raise UnusableBody(Silence.TOO_LARGE)
    return Answer(status, body.finish(), None if retry_after is None else b", ".join(retry_after).decode("latin-1"))


def _read_fields(head: list[bytes]) -> dict[bytes, list[bytes]]:
    """The values of the few fields we go by, as often as they were sent."""
    fields: dict[bytes, list[bytes]] = {}
    for name, value in _FIELDS.findall(b"\n".join(head)):
        fields.setdefault(name.lower(), []).append(value.strip())
    return fields
