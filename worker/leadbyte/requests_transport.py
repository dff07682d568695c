"""The transport made of `requests`: a few threads with a keep-alive session each, every request under a deadline."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version

import certifi
import requests
import structlog
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import RequestException, SSLError, Timeout
from urllib3.exceptions import HTTPError, ProtocolError

from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.leadbyte.body import UnusableBody, read_body
from worker.leadbyte.connections import WatchedAdapter, hold_line
from worker.leadbyte.pace import Pace
from worker.leadbyte.transport import BODY_CAP, Request, never_stop
from worker.watchdog import watchdog

CONNECT_SECONDS = 5.0

log = structlog.get_logger(__name__)
_thread = threading.local()  # .session: this thread's

# Their lines hold whole URLs, and not only at DEBUG: a header that can't be parsed is a warning with the URL in it.
# A filter, since levels and handlers are set by whoever sets up logging.
for _name in ("urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(lambda _: False)


class RequestsTransport:
    """`fetch_many` over `requests`. One object a process; threads and sessions are kept between calls."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pool_size = 0

    def fetch_many(
        self,
        requests: Sequence[Request],
        *,
        parallel: int,
        timeout_seconds: float,
        stop_after: Callable[[Asked], bool] = never_stop,
    ) -> Iterator[tuple[int, Asked]]:
        """See `Transport`."""
        pace = Pace([request.send_after_seconds for request in requests])
        slots = threading.Semaphore(parallel)
        pool = self._open_pool(parallel)

        def fetch(request: Request) -> Asked:
            with slots:
                asked = self._fetch(request, pace, timeout_seconds)
            if stop_after(asked):
                pace.stop()
            return asked

        futures = {pool.submit(fetch, request): request.tag for request in requests}
        try:
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        finally:
            pace.stop()
            for future in futures:  # whoever stopped listening wants nothing more asked
                future.cancel()

    def close(self) -> None:
        """End the threads; their sessions go with them."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _open_pool(self, parallel: int) -> ThreadPoolExecutor:
        # It only grows: claims come with fewer permits or more, and a connection costs a TLS handshake.
        if self._pool is None or self._pool_size < parallel:
            self.close()
            self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="leadbyte")
            self._pool_size = parallel
        return self._pool

    def _fetch(self, request: Request, pace: Pace, timeout_seconds: float) -> Asked:
        if not pace.wait_for_turn(request.send_after_seconds):
            return NoAnswer(Silence.UNSENT)
        with hold_line() as line, watchdog.limit(timeout_seconds, line.cut) as deadline:
            asked = self._ask(request, timeout_seconds)
        # What the watchdog cut off looks like a broken connection from here, or like an answer that ended.
        return NoAnswer(Silence.TIMEOUT) if deadline.has_passed else asked

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
        except Exception as error:  # noqa: BLE001 - one answer that trips a library must not cost the batch
            log.warning("answer_tripped_the_http_library", kind=type(error).__name__)
            return NoAnswer(Silence.BROKEN)


class _Session(requests.Session):
    def get_redirect_target(self, _response: requests.Response) -> None:
        """None: even told not to follow, requests would read a redirect's body first, to its end and unpacked."""


def _session() -> requests.Session:
    session: requests.Session | None = getattr(_thread, "session", None)
    if session is None:
        session = _thread.session = _open_session()
    return session


def _open_session() -> requests.Session:
    session = _Session()
    session.trust_env = False  # no proxy, no .netrc; looking for them also costs a third of a request
    session.verify = certifi.where()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    # Identity: the replies are small, and nothing then has to be unpacked.
    session.headers.update(
        {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"lead-resolver/{version('lead-resolver')}",
        }
    )
    adapter = WatchedAdapter(pool_connections=4, pool_maxsize=1, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _broke_off(error: RequestsConnectionError) -> bool:
    """Whether a connection that stood was lost, rather than none made."""
    return bool(error.args) and isinstance(error.args[0], ProtocolError)
