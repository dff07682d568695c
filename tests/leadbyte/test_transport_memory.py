"""Every transport: however much is sent, only the cap's worth is held."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from collections.abc import Callable

import pytest

from tests.leadbyte.raw_server import Conversation, always, encode, serve
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.leadbyte.transport import BODY_CAP

Fetch = Callable[..., Asked]
PollUrl = Callable[[str], str]

_PIECE = b" " * 65536
_HUNDRED_MB = 100 * 1024 * 1024
_BOMB = gzip.compress(b" " * (20 * 1024 * 1024)) * 20
_SMALL = gzip.compress(b"{}")
_HEAD = "HTTP/1.1 {status}\r\n{headers}\r\n\r\n"


def send_without_end(head: str, first: bytes = b"", piece: bytes = _PIECE) -> Callable[[Conversation], None]:
    """A head, a beginning, and then 100 MB in pieces (or until the client has had enough)."""

    def speak(conversation: Conversation) -> None:
        if conversation.read_request():
            conversation.send(head.encode() + first)
            for _ in range(_HUNDRED_MB // len(_PIECE)):
                conversation.send(piece)

    return speak


def measure_peak(fetch: Fetch, url: str) -> tuple[Asked, int]:
    tracemalloc.start()
    try:
        return fetch(url, timeout_seconds=60), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("headers", "first", "piece", "whys"),
    [
        (f"Content-Length: {_HUNDRED_MB}", b"", _PIECE, {Silence.TOO_LARGE}),
        ("Connection: close", b"", _PIECE, {Silence.TOO_LARGE}),
        ("Transfer-Encoding: chunked", b"", b"%x\r\n%s\r\n" % (len(_PIECE), _PIECE), {Silence.TOO_LARGE}),
        (f"Content-Length: {len(_BOMB)}\r\nContent-Encoding: gzip", _BOMB, b"", {Silence.TOO_LARGE}),
        ("Content-Encoding: gzip", _SMALL, _PIECE, {Silence.ENCODING, Silence.TOO_LARGE}),
        ("Content-Encoding: gzip, gzip", gzip.compress(_BOMB), b"", {Silence.ENCODING}),
        ("Content-Encoding: gzip", b"", _PIECE, {Silence.ENCODING}),
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "302 Found\r\nLocation: /elsewhere", "500 Oh"])
def test_a_body_without_measure_is_dropped_and_not_held(
    fetch: Fetch, status: str, headers: str, first: bytes, piece: bytes, whys: set[Silence]
) -> None:
    head = _HEAD.format(status=status, headers=headers)
    with serve(send_without_end(head, first, piece)) as server:
        asked, peak = measure_peak(fetch, server.url)
    assert asked in {NoAnswer(why) for why in whys}
    assert peak < 10 * BODY_CAP


def test_a_body_as_large_as_the_cap_is_taken(fetch: Fetch) -> None:
    for size, kind in ((BODY_CAP, Answer), (BODY_CAP + 1, NoAnswer)):
        head = _HEAD.format(status="200 OK", headers=f"Content-Length: {size}")
        with serve(send_without_end(head, b" " * size, b"")) as server:
            assert isinstance(fetch(server.url), kind)


def test_a_packed_body_as_large_as_the_cap_is_taken_though_packing_made_it_larger(fetch: Fetch) -> None:
    noise = random.Random(1).randbytes(BODY_CAP)
    packed = gzip.compress(noise, compresslevel=1)
    assert len(packed) > BODY_CAP
    with serve(always(encode(packed, "Content-Encoding: gzip"))) as server:
        assert fetch(server.url) == Answer(200, noise)


def test_packing_that_holds_nothing_is_no_answer_however_long(fetch: Fetch) -> None:
    empty_blocks = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + b"\x00\x00\x00\xff\xff" * 100_000
    with serve(always(encode(empty_blocks, "Content-Encoding: gzip"))) as server:
        assert fetch(server.url) in {NoAnswer(Silence.TOO_LARGE), NoAnswer(Silence.BROKEN)}


@pytest.mark.parametrize("name", ["huge", "endless", "gzipbomb"])
def test_the_sandboxs_endless_bodies_are_too_large(fetch: Fetch, poll_url: PollUrl, name: str) -> None:
    assert fetch(poll_url(name)) == NoAnswer(Silence.TOO_LARGE)
