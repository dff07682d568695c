"""A sandbox whose clock stands still until a test moves it, and plain ways of talking to it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox

NOON = 1_668_700_984.0
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def start() -> Iterator[Callable[..., SandboxClient]]:
    """Starts sandboxes with settings of the test's choice, and ends them after it."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            running_sandbox(SandboxSettings(**{"clock": lambda: NOON, "sigma": 0.5, **options}))
        )


@pytest.fixture
def box(start: Callable[..., SandboxClient]) -> SandboxClient:
    return start()


@pytest.fixture
def ask() -> Ask:
    """One call with the key in the header (or none, or elsewhere): HTTP status and decoded body."""

    def send(
        box: SandboxClient, method: str, path: str, body: object = None, key: str | None = "sandbox-key"
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(box.root_url.removeprefix("http://"), timeout=60)
        try:
            headers = {} if key is None else {"X_KEY": key}
            target = path if path.startswith("/") else f"/restapi/v1.3/{path}"
            connection.request(method, target, None if body is None else json.dumps(body).encode(), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    return send


@pytest.fixture
def poll(ask: Ask) -> Callable[[SandboxClient, str], dict[str, Any]]:
    """The one record that a poll of a queue ID brings."""

    def send(box: SandboxClient, queue_id: str) -> dict[str, Any]:
        _, answer = ask(box, "GET", f"apiqueue/{queue_id}")
        (record,) = answer["records"]
        assert isinstance(record, dict)
        return record

    return send
