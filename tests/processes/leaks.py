"""Is a secret written anywhere? Texts are searched as they are and as their base64, which Celery's messages are in."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from redis import Redis

_BASE64 = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")


def find_leaks(texts: Iterable[tuple[str, str]], secrets: Iterable[str]) -> list[str]:
    """Where a secret stands, as sentences; `texts` are pairs of a place and what is written there."""
    spellings = {spelling for secret in secrets for spelling in (secret, quote(secret, safe=""))}
    return [
        f"{spelling!r} stands in {place}"
        for place, written in texts
        for spelling in spellings
        if spelling.casefold() in unpack(written).casefold()
    ]


def unpack(written: str) -> str:
    """A text, and behind it whatever in it is base64."""
    return "\n".join([written, *_decode_parts(written)])


def read_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Every log in the folder."""
    for path in folder.rglob("*.log"):
        yield str(path), path.read_text("utf-8", "replace")


def read_redis(client: Redis) -> Iterator[tuple[str, str]]:
    """Every key and value."""
    readers: dict[Any, Any] = {
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    for key in client.scan_iter():
        kind = client.type(key)
        if kind != b"none":  # consumed since the scan saw it
            yield f"Redis key {key!r}", f"{key!r} {readers[kind](key)!r}"


def _decode_parts(written: str) -> Iterator[str]:
    for part in _BASE64.findall(written):
        try:
            yield base64.b64decode(part[: len(part) // 4 * 4]).decode("utf-8", "replace")
        except binascii.Error:
            continue
