"""Every transport: only who proves its name is spoken to."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import certifi
import pytest

from tests.leadbyte.certificates import FITTING, OTHER_NAME, load_context
from tests.leadbyte.raw_server import JSON_OK, Conversation, always, encode, serve
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.leadbyte.transport import Request, Transport

Fetch = Callable[..., Asked]
_REFUSED = NoAnswer(Silence.TLS)


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both test certificates count as authorities; that is certifi's say."""
    bundle = tmp_path / "authorities.pem"
    bundle.write_text(FITTING + OTHER_NAME, encoding="ascii")
    monkeypatch.setattr(certifi, "where", lambda: str(bundle))


@pytest.mark.usefixtures("trusted")
def test_a_trusted_certificate_of_the_right_name_is_accepted(fetch: Fetch, tmp_path: Path) -> None:
    with serve(always(encode(JSON_OK)), load_context(tmp_path, FITTING)) as server:
        assert fetch(server.url) == Answer(200, JSON_OK)


@pytest.mark.usefixtures("trusted")
def test_a_trusted_certificate_of_another_name_is_refused_before_a_word_is_said(fetch: Fetch, tmp_path: Path) -> None:
    with serve(always(encode(JSON_OK)), load_context(tmp_path, OTHER_NAME)) as server:
        assert fetch(server.url) == _REFUSED
        assert server.requests == []


class HeldUp:
    """TLS whose handshakes wait until they are let go."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.let_go = threading.Event()

    def wrap_socket(self, sock: socket.socket, *, server_side: bool) -> ssl.SSLSocket:
        self.let_go.wait(60)
        return self._context.wrap_socket(sock, server_side=server_side)


@pytest.mark.usefixtures("trusted")
def test_a_request_is_sent_when_its_connection_stands_and_not_before(transport: Transport, tmp_path: Path) -> None:
    tls = HeldUp(load_context(tmp_path, FITTING))
    with (
        serve(always(encode(JSON_OK), keeps=True), tls) as server,
        closing(transport.open_window(timeout_seconds=60.0)) as window,
    ):
        window.open_lane(1, 5)
        window.add(1, [Request(0, server.url)], 0.1)
        while not server.connections:
            assert window.take(0.05) == []
        assert window.take(0.05) == []
        assert not window.look_at(1).is_quiet  # what leaves after it must wait for it, and so must other runs
        tls.let_go.set()
        assert window.take(60) == [(1, 0, Answer(200, JSON_OK))]
        assert window.look_at(1).is_quiet


@pytest.mark.usefixtures("trusted")
def test_requests_that_waited_for_their_connections_count_from_when_they_were_sent(
    transport: Transport, tmp_path: Path
) -> None:
    tls = HeldUp(load_context(tmp_path, FITTING))
    with (
        serve(always(encode(JSON_OK), keeps=True), tls) as server,
        closing(transport.open_window(timeout_seconds=60.0)) as window,
    ):
        now = time.monotonic()
        window.open_lane(1, 2)
        window.add(1, [Request(0, server.url, send_at=now), Request(1, server.url, send_at=now + 0.5)], 0.5)
        while server.connections < 2:
            assert window.take(0.05) == []
        while time.monotonic() < now + 1.5:
            assert window.take(0.1) == []
        tls.let_go.set()
        sent_at = time.monotonic()
        answered = 0
        while answered < 2:
            answered += len(window.take(60))
        free_at = window.find_overrun(1)
        assert free_at is not None
        assert free_at > sent_at + 0.4  # the second that they fill together begins there


@pytest.mark.usefixtures("trusted")
def test_a_lane_is_not_quiet_while_one_that_left_with_an_answer_has_no_connection(
    transport: Transport, tmp_path: Path
) -> None:
    tls = HeldUp(load_context(tmp_path, FITTING))
    tls.let_go.set()

    def answer_and_hold_the_next_up(conversation: Conversation) -> None:
        if conversation.read_request():
            tls.let_go.clear()
            conversation.send(encode(JSON_OK, "Connection: close"))

    with (
        serve(answer_and_hold_the_next_up, tls) as server,
        closing(transport.open_window(timeout_seconds=60.0)) as window,
    ):
        window.open_lane(1, 1)
        window.add(1, [Request(0, server.url), Request(1, server.url)])
        while not (answered := window.take(60)):
            pass
        assert [tag for _, tag, _ in answered] == [0]
        until = time.monotonic() + 1
        while time.monotonic() < until and not window.look_at(1).is_quiet:
            time.sleep(0.01)
        assert not window.look_at(1).is_quiet
        tls.let_go.set()
        while len(window):  # a server whose client goes away within the handshake leaves a socket open
            window.take(60)


@pytest.mark.usefixtures("trusted")
def test_a_lane_is_not_quiet_while_one_that_left_at_the_end_of_a_take_has_no_connection(
    transport: Transport, tmp_path: Path
) -> None:
    tls = HeldUp(load_context(tmp_path, FITTING))
    with (
        serve(always(encode(JSON_OK)), tls) as server,
        closing(transport.open_window(timeout_seconds=60.0)) as window,
    ):
        for lane in range(20):
            window.open_lane(lane, 1)
            window.add(lane, [Request(0, server.url, send_at=time.monotonic() + 0.01)])
            assert window.take(0.01) == []
            assert not window.look_at(lane).is_quiet
        tls.let_go.set()
        while len(window):
            window.take(60)


def _list_ended(transport: Transport, url: str, timeout_seconds: float) -> list[Silence]:
    with closing(transport.open_window(timeout_seconds=timeout_seconds)) as window:
        window.open_lane(1, 1)
        # Ten a second: had the first ten not ended, the others would never leave.
        window.add(1, [Request(None, url) for _ in range(12)], 0.1)
        ended: list[Silence] = []
        while len(window):
            ended += [asked.why for _, _, asked in window.take(60) if isinstance(asked, NoAnswer)]
        return ended


def test_connections_that_are_refused_hold_up_nothing_afterwards(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    assert _list_ended(transport, f"http://127.0.0.1:{port}/", 60.0) == [Silence.CONNECTION] * 12


def test_handshakes_that_never_end_hold_up_nothing_afterwards(transport: Transport) -> None:
    with serve(Conversation.wait_for_hangup) as server:
        assert _list_ended(transport, server.url.replace("http:", "https:"), 0.1) == [Silence.TIMEOUT] * 12


def test_a_self_signed_certificate_is_refused_before_a_word_is_said(
    fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(FITTING, encoding="ascii")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):  # the environment has no say either
        monkeypatch.setenv(name, str(bundle))
    with serve(always(encode(JSON_OK)), load_context(tmp_path, FITTING)) as server:
        assert fetch(server.url) == _REFUSED
        assert server.requests == []


def test_a_server_without_tls_behind_https_is_refused(fetch: Fetch) -> None:
    def speak(conversation: Conversation) -> None:
        conversation.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        conversation.wait_for_hangup()

    with serve(speak) as server:
        assert fetch(server.url.replace("http:", "https:")) == _REFUSED


def test_a_handshake_that_breaks_off_is_no_answer(fetch: Fetch) -> None:
    def speak(conversation: Conversation) -> None:
        conversation.send(b"\x16\x03\x03\x40\x00" + b"\x02" * 20)
        conversation.reset()

    with serve(speak) as server:
        asked = fetch(server.url.replace("http:", "https:"))
    # Where it is noticed differs; that it is a failure of this request alone does not.
    assert asked in {NoAnswer(why) for why in (Silence.TLS, Silence.BROKEN, Silence.CONNECTION)}
