"""Every transport: an answer is whole or it is none, and where it leads nobody follows."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.leadbyte.raw_server import JSON_OK, Conversation, always, encode, serve
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.leadbyte.transport import Request, Transport, fetch_many
from worker.sandbox import SandboxSettings, running_sandbox
from worker.sandbox.faults import FAULTS

Fetch = Callable[..., Asked]
PollUrl = Callable[[str], str]

_FRAMED = {
    "length": encode(JSON_OK, "Retry-After: 120"),
    # Sizes with leading zeros: cut after the first, one reads as the chunk that ends all.
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nRetry-After: 120\r\n\r\n"
    + b"".join(b"%04x\r\n%s\r\n" % (len(part), part) for part in (JSON_OK[:7], JSON_OK[7:], b"")),
}
_UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nRetry-After: 120\r\n\r\n" + JSON_OK
_WHOLE = Answer(200, JSON_OK, "120")


def read_number(head: bytes) -> int:
    return int(urlsplit(head.split()[1]).path.removeprefix(b"/"))


def cut_off(reply: bytes, *, with_reset: bool) -> Callable[[Conversation], None]:
    """Send as many bytes of the reply as the path says."""

    def speak(conversation: Conversation) -> None:
        if head := conversation.read_request():
            conversation.send(reply[: read_number(head)])
            if with_reset:
                conversation.reset()

    return speak


def fetch_cut_at_every_byte(transport: Transport, reply: bytes, *, with_reset: bool) -> dict[int, Asked]:
    with serve(cut_off(reply, with_reset=with_reset)) as server:
        requests = [Request(place, f"{server.url}/{place}") for place in range(len(reply) + 1)]
        return dict(fetch_many(transport, requests, parallel=4, timeout_seconds=60))


def test_an_answer_arrives_whole(fetch: Fetch, poll_url: PollUrl) -> None:
    asked = fetch(poll_url("approved"))
    assert isinstance(asked, Answer)
    assert asked.http_status == 200
    assert json.loads(asked.body)["records"][0]["queueId"] == "sandbox-approved-1"


@pytest.mark.parametrize("with_reset", [False, True])
@pytest.mark.parametrize("framing", _FRAMED)
def test_an_answer_cut_at_any_byte_is_none(transport: Transport, framing: str, with_reset: bool) -> None:
    reply = _FRAMED[framing]
    asked = fetch_cut_at_every_byte(transport, reply, with_reset=with_reset)
    cut_off_answers = {place: got for place, got in asked.items() if place < len(reply) and isinstance(got, Answer)}
    assert all(got == _WHOLE for got in cut_off_answers.values()), cut_off_answers
    assert min(cut_off_answers, default=len(reply)) > len(reply) - len("\r\n\r\n")
    if not with_reset:
        assert asked[len(reply)] == _WHOLE


def test_an_answer_that_lasts_until_the_close_is_what_was_sent_under_a_whole_head(transport: Transport) -> None:
    head = _UNTIL_CLOSED.index(b"\r\n\r\n") + 4
    asked = fetch_cut_at_every_byte(transport, _UNTIL_CLOSED, with_reset=False)
    assert all(isinstance(asked[place], NoAnswer) for place in range(head))
    assert all(
        asked[place] == Answer(200, _UNTIL_CLOSED[head:place], "120") for place in range(head, len(_UNTIL_CLOSED) + 1)
    )


@pytest.mark.parametrize("name", ["cut", "cuthead", "reset", "lostrequest", "lostreply", "wronglength"])
def test_a_connection_lost_on_the_way_is_broken(fetch: Fetch, poll_url: PollUrl, name: str) -> None:
    assert fetch(poll_url(name)) == NoAnswer(Silence.BROKEN)


def test_what_stands_behind_the_length_is_no_part_of_the_answer(fetch: Fetch) -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{}{}"
    with serve(always(reply, keeps=True)) as server:
        assert fetch(server.url) in {Answer(200, b"{}"), NoAnswer(Silence.BROKEN)}


@pytest.mark.parametrize(
    "reply",
    [
        b"\x00\xff garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n{}   {}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbanana\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n",
    ],
)
def test_what_is_no_http_is_broken(fetch: Fetch, reply: bytes) -> None:
    with serve(always(reply)) as server:
        assert fetch(server.url) == NoAnswer(Silence.BROKEN)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (encode(JSON_OK, "Retry-After: 5", "RETRY-AFTER:7"), Answer(200, JSON_OK, "5, 7")),
        (encode(JSON_OK, "Retry-After:   5 \t"), Answer(200, JSON_OK, "5")),
        (encode(JSON_OK, "Retry-After:"), Answer(200, JSON_OK, "")),
        (encode(JSON_OK, "Retry-After: \xe9"), Answer(200, JSON_OK, "\xe9")),
        (encode(JSON_OK, "X-Retry-After: 5", "Retry-After : 5"), Answer(200, JSON_OK)),
        (encode(JSON_OK, status="999 Odd"), Answer(999, JSON_OK)),
        (encode(JSON_OK, status="200"), Answer(200, JSON_OK)),
        (encode(JSON_OK, status="200 \xff\xfe"), Answer(200, JSON_OK)),
        (encode(JSON_OK, "WWW-Authenticate: Negotiate", status="401 Who"), Answer(401, JSON_OK)),
        (encode(JSON_OK, "Refresh: 0; url=/x"), Answer(200, JSON_OK)),
        (b"HTTP/1.0 200 OK\r\n\r\n" + JSON_OK, Answer(200, JSON_OK)),
        (b"HTTP/1.1 200 OK\nContent-Length: 20\n\n" + JSON_OK, Answer(200, JSON_OK)),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 20\r\n\r\n" + JSON_OK, Answer(204, b"")),
        (_FRAMED["chunks"][:-2] + b"Retry-After: 9\r\nContent-Encoding: gzip\r\n\r\n", _WHOLE),
        (_FRAMED["chunks"].replace(b"0007", b"0007;a=b"), _WHOLE),
        (b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n", NoAnswer(Silence.BROKEN)),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n" + encode(JSON_OK), NoAnswer(Silence.BROKEN)),
        (encode(JSON_OK).replace(b"HTTP/1.1", b"http/1.1"), NoAnswer(Silence.BROKEN)),
        (encode(JSON_OK).replace(b"HTTP/1.1", b"HTTP/2.0"), NoAnswer(Silence.BROKEN)),
        (encode(JSON_OK, status="099 Odd"), NoAnswer(Silence.BROKEN)),
        (encode(JSON_OK, status="1000 Odd"), NoAnswer(Silence.BROKEN)),
        (JSON_OK, NoAnswer(Silence.BROKEN)),
    ],
)
def test_odd_answers_are_read_alike(fetch: Fetch, reply: bytes, expected: Asked) -> None:
    with serve(always(reply)) as server:
        assert fetch(server.url) == expected


_pieces = st.sampled_from(
    [
        *_FRAMED.values(),
        *(b"HTTP/1.1 ", b"200", b"HTTP/1.1 100 C", b"\r\n", b"\n", b": ", b"0", b"\x00", b" x", b"Retry-After:"),
        *(b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", gzip.compress(JSON_OK)),
    ]
)


def test_whatever_bytes_come_they_are_an_answer_or_none(fetch: Fetch) -> None:
    said = [b""]

    def speak(conversation: Conversation) -> None:
        if conversation.read_request():
            conversation.send(said[0])

    with serve(speak) as server:

        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(st.lists(_pieces | st.binary(max_size=20), max_size=8))
        def check(pieces: list[bytes]) -> None:
            said[0] = b"".join(pieces)
            assert isinstance(fetch(server.url), Answer | NoAnswer)

        check()


def test_a_hint_before_the_answer_is_not_taken_for_it(fetch: Fetch) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    replies = {1: hint + encode(b"1"), 2: encode(b"2")}

    def speak(conversation: Conversation) -> None:
        while head := conversation.read_request():
            conversation.send(replies[read_number(head)])

    with serve(speak) as server:
        assert fetch(f"{server.url}/1") in {Answer(200, b"1"), NoAnswer(Silence.BROKEN)}
        assert fetch(f"{server.url}/2") == Answer(200, b"2")


def test_nobody_there_and_no_such_host_are_failed_connections(fetch: Fetch) -> None:
    with serve(always(b"")) as server:
        pass
    assert fetch(server.url) == NoAnswer(Silence.CONNECTION)
    assert fetch("http://leadbyte.invalid/") == NoAnswer(Silence.CONNECTION)
    assert fetch(f"http://{'a' * 70}.invalid/") == NoAnswer(Silence.CONNECTION)


def test_a_redirect_is_an_answer_and_the_key_goes_nowhere(fetch: Fetch) -> None:
    with running_sandbox(SandboxSettings()) as box:
        asked = fetch(f"{box.base_url}/apiqueue/sandbox-redirect-1?key=sandbox-key")
        assert asked == Answer(302, b"")
        assert box.calls()["trapped"] == {"requests": 0, "with_key": 0}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["/again", "http://[", "//elsewhere.invalid/", "\xff"])
def test_no_kind_of_redirect_is_followed(fetch: Fetch, status: int, place: str) -> None:
    with serve(always(encode(b"moved", f"Location: {place}", status=f"{status} Moved"), keeps=True)) as server:
        assert fetch(server.url) == Answer(status, b"moved")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)]
)
def test_an_honestly_packed_answer_is_unpacked(fetch: Fetch, name: str, pack: Callable[[bytes], bytes]) -> None:
    with serve(always(encode(pack(JSON_OK), f"Content-Encoding: {name}"))) as server:
        assert fetch(server.url) == Answer(200, JSON_OK)


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (gzip.compress(JSON_OK)[:-9], "gzip", Silence.BROKEN),
        (gzip.compress(JSON_OK) + b"more", "gzip", Silence.ENCODING),
        (JSON_OK, "gzip", Silence.ENCODING),
        (JSON_OK, "br", Silence.ENCODING),
        (gzip.compress(gzip.compress(JSON_OK)), "gzip, gzip", Silence.ENCODING),
    ],
)
def test_a_badly_packed_answer_is_none(fetch: Fetch, body: bytes, encoding: str, why: Silence) -> None:
    with serve(always(encode(body, f"Content-Encoding: {encoding}"))) as server:
        assert fetch(server.url) == NoAnswer(why)


@pytest.mark.parametrize("name", ["nested", "badgzip"])
def test_the_sandboxs_odd_encodings_are_named_as_such(fetch: Fetch, poll_url: PollUrl, name: str) -> None:
    assert fetch(poll_url(name)) == NoAnswer(Silence.ENCODING)


def test_endless_or_too_many_headers_are_no_answer(fetch: Fetch, poll_url: PollUrl) -> None:
    assert fetch(poll_url("hugeheaders")) in {NoAnswer(Silence.BROKEN), NoAnswer(Silence.TOO_LARGE)}
    crowd = [f"X-{number}: {number}" for number in range(50_000)]
    one_line = "X-Long: " + "x" * 5_000_000
    for headers in (crowd, [one_line]):
        with serve(always(encode(JSON_OK, *headers))) as server:
            assert fetch(server.url) in {NoAnswer(Silence.BROKEN), NoAnswer(Silence.TOO_LARGE)}


# These hang or never end by themselves, so the deadline is short here; what they come to is in the other files.
@pytest.mark.parametrize("name", sorted(FAULTS))
def test_after_any_fault_the_next_answer_is_right(fetch: Fetch, poll_url: PollUrl, name: str) -> None:
    fetch(poll_url(f"{name}-times1"), timeout_seconds=0.3)
    asked = fetch(poll_url("approved"))
    assert isinstance(asked, Answer)
    assert json.loads(asked.body)["records"][0]["queueId"] == "sandbox-approved-1"
