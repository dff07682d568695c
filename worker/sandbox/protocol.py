"""HTTP/1.1 on a stream, as little of it as clients use; by hand, because faults need every byte under control."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

MAX_HEADER_BYTES = 32 * 1024
MAX_BODY_BYTES = 8 * 1024 * 1024
JSON_TYPE = ("Content-Type", "application/json")
HTML_TYPE = ("Content-Type", "text/html; charset=utf-8")
Headers = tuple[tuple[str, str], ...]


class UnreadableRequestError(Exception):
    """The request breaks a bound or the grammar; answered with `status`, then the connection is closed."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


@dataclass(slots=True)
class Request:
    """One parsed request; header names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    keeps_alive: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer before it becomes bytes."""

    status: int
    body: bytes = b""
    headers: Headers = (JSON_TYPE,)


def encode_json(payload: object, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, json.dumps(payload).encode())


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request, or None once the client hung up; raises UnreadableRequestError."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        request = _parse_head(head)
        await _read_body(request, reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except asyncio.LimitOverrunError:
        raise UnreadableRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None
    except ValueError:
        raise UnreadableRequestError(HTTPStatus.BAD_REQUEST) from None
    return request


def _parse_head(head: bytes) -> Request:
    start, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, version = start.split(" ")
    path, _, query = target.partition("?")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Request(
        method=method,
        path=unquote(path) if "%" in path else path,
        query=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
        headers=headers,
        body=b"",
        keeps_alive=version == "HTTP/1.1" and headers.get("connection", "").lower() != "close",
    )


async def _read_body(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if "transfer-encoding" in request.headers:
        raise UnreadableRequestError(HTTPStatus.LENGTH_REQUIRED)
    length = int(request.headers.get("content-length", "0"))
    if not 0 <= length <= MAX_BODY_BYTES:
        raise UnreadableRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if length and request.headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.body = await reader.readexactly(length) if length else b""


def encode_head(status: int, headers: Headers) -> bytes:
    """Status line and headers, with the empty line that ends them."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n".encode("latin-1")


def encode_reply(reply: Reply, *, length: int | None = None) -> bytes:
    """The whole reply as bytes; `length` overrides the true Content-Length."""
    told_length = len(reply.body) if length is None else length
    return encode_head(reply.status, (*reply.headers, ("Content-Length", str(told_length)))) + reply.body
