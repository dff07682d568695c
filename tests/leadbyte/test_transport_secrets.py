"""Every transport: whatever happens, neither the key nor the URL is in what it gives, logs or shows."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.leadbyte.raw_server import always, encode, serve
from worker.domain.answers import Answer, Asked
from worker.leadbyte.transport import Request
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.sandbox.faults import FAULTS

Fetch = Callable[..., Asked]

_PLANTED = "PLANTED-key-5f3a"
_ODD_REPLIES = [
    encode(b"{}", "a line without a colon", "X: y"),
    encode(b"{}", " folded before anything", "X: y"),
    encode(b"{}", "Transfer-Encoding: chunked"),
    encode(b"{}", "Location: http://[", status="302 Found"),
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n{}",
    b"garbage",
]


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """All that was logged or printed so far, with every logger at its most talkative."""
    for name in ("", "urllib3", "urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry", "requests"):
        caplog.set_level(logging.DEBUG, name)
    return lambda: "".join([caplog.text, *capfd.readouterr()])


def show(asked: Asked) -> str:
    """What an answer shows of itself, but for the body, which is the client's to clean."""
    return repr((asked.http_status, asked.retry_after) if isinstance(asked, Answer) else asked)


def test_no_fault_brings_the_key_to_light(fetch: Fetch, shown: Callable[[], str]) -> None:
    with running_sandbox(SandboxSettings(key=_PLANTED, drip_seconds=0.05)) as box:
        for name in FAULTS:
            asked = fetch(f"{box.base_url}/apiqueue/sandbox-{name}-1?key={_PLANTED}", timeout_seconds=0.2)
            assert _PLANTED not in show(asked)
    written = shown()
    assert _PLANTED not in written
    assert "apiqueue" not in written


@pytest.mark.parametrize("reply", _ODD_REPLIES)
def test_no_odd_answer_brings_the_key_to_light(fetch: Fetch, shown: Callable[[], str], reply: bytes) -> None:
    with serve(always(reply)) as server:
        asked = fetch(f"{server.url}/apiqueue/x?key={_PLANTED}")
    written = shown() + show(asked)
    assert _PLANTED not in written
    assert "apiqueue" not in written


@pytest.mark.parametrize(
    "place",
    ["http://127.0.0.1:1/", "https://leadbyte.invalid/", "http://127.0.0.1:99999/", "http://[::", "nonsense://x/"],
)
def test_no_bad_address_brings_the_key_to_light(fetch: Fetch, shown: Callable[[], str], place: str) -> None:
    asked = fetch(f"{place}apiqueue?key={_PLANTED}")
    written = shown() + repr(asked)
    assert _PLANTED not in written
    assert "apiqueue" not in written


def test_a_request_does_not_show_its_url_or_headers(box: SandboxClient) -> None:
    shown_request = repr(Request(1, f"{box.base_url}?key={_PLANTED}", {"X_KEY": _PLANTED}))
    assert _PLANTED not in shown_request
    assert box.root_url not in shown_request
