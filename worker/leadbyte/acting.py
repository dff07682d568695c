"""Acts on held leads at LeadByte: each request at most once, on a connection of its own, in time or not at all.

Polling may ask twice; this must not. So what surely did not arrive is told apart from what may have: until the first
byte of a request is written nothing has happened, from then on anything may have. `worker.leadbyte.client` polls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import certifi
import structlog
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError
from urllib3.exceptions import SSLError as TlsError
from urllib3.response import BaseHTTPResponse

from worker.accounts import Account
from worker.clock import read_sleepless
from worker.domain.action_answers import Way
from worker.domain.action_results import NEVER_ARRIVED
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.leadbyte.body import UnusableBody
from worker.leadbyte.client import list_spellings, take_key_out
from worker.leadbyte.connections import WatchedHTTPConnection, WatchedHTTPSConnection, hold_line
from worker.leadbyte.requests_transport import read_body
from worker.watchdog import watchdog

_CONNECT_SECONDS = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """One lead of a PUT: the fields to update, and what to do with the lead then, if anything. Never shows values."""

    quarantine_id: str
    update: Mapping[str, object] = field(repr=False)
    action: Way | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it is sent, but for the key: its path is under the account's base URL. Never shows values."""

    method: str
    path: str
    body: Mapping[str, Any] = field(repr=False)

    @property
    def content(self) -> str:
        """The body as it is written."""
        return json.dumps(self.body)


def compose_put(items: Sequence[Item]) -> Call:
    """`PUT /leads`: update held leads, and perhaps release or reject them in the same request."""
    leads = [
        {"quarantineId": item.quarantine_id, "update": dict(item.update)}
        | ({"action": item.action} if item.action is not None else {})
        for item in items
    ]
    return Call("PUT", "leads", {"leads": leads})


def compose_process(quarantine_id: str, action: Way) -> Call:
    """`POST /quarantine/process`: release or reject one lead."""
    return Call("POST", "quarantine/process", {"quarantineId": int(quarantine_id), "action": action})


class TooLate(OSError):
    """The moment by which the first byte had to be written has passed."""


class ActingClient:
    """Makes the calls of LeadByte's articles on quarantine, under one total deadline a request."""

    def __init__(self, timeout_seconds: float, read_monotonic: Callable[[], float] = read_sleepless) -> None:
        self._timeout_seconds = timeout_seconds
        self._read_monotonic = read_monotonic

    def put_leads(self, account: Account, items: Sequence[Item], send_before: float) -> Asked:
        """Make the call of `compose_put`.

        Nothing is written after the moment `send_before`, by `worker.clock`. SettingsError if the account's key can't
        be read.
        """
        return self._send(account, compose_put(items), send_before)

    def post_process(self, account: Account, quarantine_id: str, action: Way, send_before: float) -> Asked:
        """Make the call of `compose_process`. As `put_leads` otherwise."""
        return self._send(account, compose_process(quarantine_id, action), send_before)

    def _send(self, account: Account, call: Call, send_before: float) -> Asked:
        key = account.read_key()
        headers = {
            "X_KEY": key.get_secret_value(),
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": f"lead-resolver/{version('lead-resolver')}",
        }
        connection = self._make_connection(account.base_url, send_before)
        try:
            with hold_line() as line, watchdog.limit(self._timeout_seconds, line.cut) as deadline:
                asked = self._ask(connection, call, urlsplit(account.base_url).path, headers)
        finally:
            connection.close()
        if deadline.has_passed and not isinstance(asked, Answer) and asked.why not in NEVER_ARRIVED:
            asked = NoAnswer(Silence.TIMEOUT)
        elif deadline.has_passed and isinstance(asked, Answer):
            asked = NoAnswer(Silence.TIMEOUT)  # what the watchdog cut off may look like an answer that ended
        return take_key_out(asked, list_spellings(key.get_secret_value()))

    def _make_connection(self, base_url: str, send_before: float) -> _PunctualHTTP | _PunctualHTTPS:
        parts = urlsplit(base_url)
        timeout = min(_CONNECT_SECONDS, self._timeout_seconds)
        connection: _PunctualHTTP | _PunctualHTTPS
        if parts.scheme.lower() == "https":
            connection = _PunctualHTTPS(
                parts.hostname or "", parts.port, timeout=timeout, cert_reqs="CERT_REQUIRED", ca_certs=certifi.where()
            )
        else:
            connection = _PunctualHTTP(parts.hostname or "", parts.port, timeout=timeout)
        connection.is_in_time = lambda: self._read_monotonic() <= send_before
        return connection

    def _ask(
        self,
        connection: _PunctualHTTP | _PunctualHTTPS,
        call: Call,
        base_path: str,
        headers: Mapping[str, str],
    ) -> Asked:
        """One request, no second one. Every exception ends here: their texts may hold what was sent."""
        try:
            connection.connect()
        except TlsError:
            return NoAnswer(Silence.TLS)
        except (HTTPError, OSError, ValueError):
            return NoAnswer(Silence.CONNECTION)
        connection.timeout = self._timeout_seconds
        if connection.sock is not None:
            connection.sock.settimeout(self._timeout_seconds)
        try:
            content = call.content.encode()
            connection.request(call.method, f"{base_path}/{call.path}", content, headers, preload_content=False)
            return _read_answer(connection.getresponse())
        except TooLate:
            return NoAnswer(Silence.BROKEN if connection.has_begun else Silence.UNSENT)
        except UnusableBody as error:
            return NoAnswer(error.why)
        except TimeoutError:
            # The deadline may pass between the connection and the first byte.
            return NoAnswer(Silence.TIMEOUT if connection.has_begun else Silence.CONNECTION)
        except Exception as error:  # noqa: BLE001 - an answer that trips a library must not say "not sent"
            if not isinstance(error, (HTTPError, OSError, ValueError)):
                log.warning("answer_tripped_the_http_library", kind=type(error).__name__)
            return NoAnswer(Silence.BROKEN)


def _read_answer(response: BaseHTTPResponse) -> Answer:
    return Answer(response.status, read_body(response), response.headers.get("retry-after"))


class _Punctual(HTTPConnection):
    """Mixed into both kinds of connection: looks at the clock right before each write."""

    is_in_time: Callable[[], bool] = staticmethod(lambda: True)
    has_begun = False

    def send(self, data: Any) -> None:  # noqa: ANN401 - passed on as it is
        """As ever, unless it is too late: a process that was frozen in between must not act now."""
        if not self.is_in_time():
            raise TooLate
        self.has_begun = True
        super().send(data)


class _PunctualHTTP(_Punctual, WatchedHTTPConnection):
    pass


class _PunctualHTTPS(_Punctual, WatchedHTTPSConnection):
    pass
