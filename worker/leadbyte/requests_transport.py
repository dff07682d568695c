"""The transport made of `requests`: a few threads with a keep-alive session each, every request under a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import RequestException, SSLError, Timeout
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ProtocolError

from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.leadbyte.body import UnusableBody, read_body
from worker.leadbyte.transport import BODY_CAP, Request
from worker.watchdog import shut_down, watchdog

CONNECT_SECONDS = 5.0


class _Line:
    """The connection one request runs over, as soon as there is one: urllib3 itself shows it only after the headers."""

    def __init__(self) -> None:
        self.connection: HTTPConnection | None = None

    def cut(self) -> None:
        """Shut it down; called by the watchdog. While it is still being connected, CONNECT_SECONDS bounds it."""
        sock = getattr(self.connection, "sock", None)
        if sock is not None:
            shut_down(sock.fileno())


_thread = threading.local()  # .line: what this thread's request runs over


class _Watched:
    """Mixed into both kinds of connection: says which one this thread is using."""

    def connect(self) -> None:
        _thread.line.connection = self
        super().connect()  # type: ignore[misc]  # of HTTPConnection, beside which this stands

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on as they are
        _thread.line.connection = self
        super().request(*args, **kwargs)  # type: ignore[misc]  # likewise


class _WatchedHTTPConnection(_Watched, HTTPConnection):
    pass


class _WatchedHTTPSConnection(_Watched, HTTPSConnection):
    pass


class _WatchedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _WatchedHTTPConnection


class _WatchedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHTTPSConnection


class _WatchedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on as they are
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _WatchedHTTPPool, "https": _WatchedHTTPSPool}


class RequestsTransport:
    """`fetch_many` over `requests`. One object a process; threads and sessions are kept between calls."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pool_size = 0

    def fetch_many(
        self, requests: Sequence[Request], *, parallel: int, timeout_seconds: float
    ) -> Iterator[tuple[int, Asked]]:
        """See `Transport`."""
        started = time.monotonic()
        pool = self._open_pool(parallel)
        futures = {pool.submit(self._fetch, request, started, timeout_seconds): request.tag for request in requests}
        for future in as_completed(futures):
            yield futures[future], future.result()

    def close(self) -> None:
        """End the threads; their sessions go with them."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _open_pool(self, parallel: int) -> ThreadPoolExecutor:
        if self._pool is None or self._pool_size != parallel:
            self.close()
            self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="leadbyte")
            self._pool_size = parallel
        return self._pool

    def _fetch(self, request: Request, started: float, timeout_seconds: float) -> Asked:
        wait = started + request.send_after_seconds - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        _thread.line = _Line()
        with watchdog.limit(timeout_seconds, _thread.line.cut) as deadline:
            asked = self._ask(request, timeout_seconds)
        # What the watchdog cut off looks like a broken connection from here.
        return NoAnswer(Silence.TIMEOUT) if deadline.has_passed and isinstance(asked, NoAnswer) else asked

    def _ask(self, request: Request, timeout_seconds: float) -> Asked:
        """One request. Every exception ends here: their texts hold the URL, and the URL holds the key."""
        try:
            with _session().get(
                request.url,
                headers=dict(request.headers),
                timeout=(min(CONNECT_SECONDS, timeout_seconds), timeout_seconds),
                allow_redirects=False,
                stream=True,
            ) as response:
                body = read_body(response.raw, BODY_CAP)
                return Answer(response.status_code, body, response.headers.get("retry-after"))
        except UnusableBody as error:
            return NoAnswer(error.why)
        except Timeout:
            return NoAnswer(Silence.TIMEOUT)
        except SSLError:
            return NoAnswer(Silence.TLS)
        except RequestsConnectionError as error:
            return NoAnswer(Silence.BROKEN if _broke_off(error) else Silence.CONNECTION)
        except (RequestException, HTTPError, OSError, ValueError):
            return NoAnswer(Silence.BROKEN)


def _session() -> requests.Session:
    session: requests.Session | None = getattr(_thread, "session", None)
    if session is None:
        session = _thread.session = _open_session()
    return session


def _open_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc; looking for them also costs a third of a request
    session.verify = certifi.where()
    session.max_redirects = 0
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    # Identity: the replies are small, and nothing then has to be unpacked.
    session.headers.update(
        {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"lead-resolver/{version('lead-resolver')}",
        }
    )
    adapter = _WatchedAdapter(pool_connections=4, pool_maxsize=1, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _broke_off(error: RequestsConnectionError) -> bool:
    """Whether a connection that stood was lost, rather than none made."""
    return bool(error.args) and isinstance(error.args[0], ProtocolError)
