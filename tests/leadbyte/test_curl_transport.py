"""What libcurl does that `requests` does not, and that it is taken where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from tests.leadbyte.raw_server import JSON_OK, Conversation, encode, serve
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.errors import SettingsError
from worker.leadbyte.body import UnusableBody
from worker.leadbyte.choice import choose_transport, open_transport
from worker.leadbyte.curl_exchange import _read_answer
from worker.leadbyte.curl_transport import CurlTransport
from worker.leadbyte.requests_transport import RequestsTransport
from worker.leadbyte.transport import Request, fetch_many

_OK = Answer(200, JSON_OK)


@pytest.fixture
def curl() -> Iterator[CurlTransport]:
    made = CurlTransport()
    yield made
    made.close()


@pytest.fixture
def without_pycurl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycurl", None)


def ask(curl: CurlTransport, url: str, timeout_seconds: float = 60.0) -> Asked:
    ((_, asked),) = fetch_many(curl, [Request(0, url)], parallel=1, timeout_seconds=timeout_seconds)
    return asked


def answer_and_hang_up_on_the_next(answers: int) -> Callable[[Conversation], None]:
    def speak(conversation: Conversation) -> None:
        for _ in range(answers):
            if conversation.read_request():
                conversation.send(encode(JSON_OK))
        conversation.read_request()

    return speak


def test_a_kept_connection_lost_under_a_request_costs_one_more_request(curl: CurlTransport) -> None:
    with serve(answer_and_hang_up_on_the_next(1)) as server:
        assert [ask(curl, server.url) for _ in range(2)] == [_OK] * 2
        assert (len(server.requests), server.connections) == (3, 2)


def test_a_new_connection_lost_under_a_request_is_not_made_again(curl: CurlTransport) -> None:
    with serve(answer_and_hang_up_on_the_next(0)) as server:
        assert ask(curl, server.url) == NoAnswer(Silence.BROKEN)
        assert len(server.requests) == 1


def test_a_handle_takes_nothing_over_from_the_request_before(curl: CurlTransport) -> None:
    with serve(answer_and_hang_up_on_the_next(9)) as server:
        for headers in ({"X_KEY": "one"}, {}, {"X_KEY": "two"}):
            request = Request(0, server.url, headers)
            assert list(fetch_many(curl, [request], parallel=1, timeout_seconds=60)) == [(0, _OK)]
        assert [head.count(b"X_KEY: one") for head in server.requests] == [1, 0, 0]
        assert [head.count(b"X_KEY: two") for head in server.requests] == [0, 0, 1]


def test_two_lengths_that_differ_are_no_answer_whatever_libcurl_makes_of_them() -> None:
    head = [b"HTTP/1.1 200 OK", b"Content-Length: 2", b"content-length: 7"]
    with pytest.raises(UnusableBody):
        _read_answer(200, head, [b"{}"], is_too_large=False)


@pytest.mark.parametrize(("wanted", "made"), [("auto", CurlTransport), ("requests", RequestsTransport)])
def test_libcurl_is_used_where_it_is_installed(wanted: str, made: type) -> None:
    transport = open_transport(wanted)  # type: ignore[arg-type]  # parametrised
    assert isinstance(transport, made)
    transport.close()


@pytest.mark.usefixtures("without_pycurl")
def test_requests_is_used_where_libcurl_is_not_installed() -> None:
    assert choose_transport("auto") == "requests"


@pytest.mark.usefixtures("without_pycurl")
def test_asking_for_libcurl_where_it_is_not_installed_names_what_to_install() -> None:
    with pytest.raises(SettingsError, match=r"^LEAD_RESOLVER_TRANSPORT: .*pip install 'lead-resolver\[fast\]'"):
        open_transport("curl")
