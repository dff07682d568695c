"""The transports under test, and plain ways of asking with them. A further transport is a further line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from worker.domain.answers import Asked
from worker.leadbyte.curl_loop import CurlLoop
from worker.leadbyte.curl_transport import CurlTransport
from worker.leadbyte.requests_transport import RequestsTransport
from worker.leadbyte.transport import Request, Transport, fetch_many
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox


class Alternating(CurlLoop):
    """Driven one way and the other in turns, whatever is under way."""

    def try_all(self, *, is_cheaper: bool) -> None:  # noqa: ARG002 - whatever is cheaper
        super().try_all(is_cheaper=not self._tries_all)


def make_curl_alternating() -> CurlTransport:
    return CurlTransport(Alternating)


TRANSPORTS: list[Callable[[], Transport]] = [
    RequestsTransport,
    CurlTransport,
    make_curl_alternating,
]
KEY = "sandbox-key"


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    made: Transport = request.param()
    yield made
    made.close()


@pytest.fixture
def fetch(transport: Transport) -> Callable[..., Asked]:
    """Ask one URL; the deadline is generous unless the test is about it."""

    def ask(url: str, *, timeout_seconds: float = 60.0) -> Asked:
        requests = [Request(0, url)]
        ((_, asked),) = fetch_many(transport, requests, parallel=1, timeout_seconds=timeout_seconds)
        return asked

    return ask


@pytest.fixture(scope="session")
def box() -> Iterator[SandboxClient]:
    with running_sandbox(SandboxSettings(key=KEY, drip_seconds=0.05, slow_seconds=60)) as sandbox:
        yield sandbox


@pytest.fixture
def poll_url(box: SandboxClient) -> Callable[[str], str]:
    """The URL that polls a magic queue ID: a name of a story or a fault."""
    return lambda name: f"{box.base_url}/apiqueue/sandbox-{name}-1?key={KEY}"
