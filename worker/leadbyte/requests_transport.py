"""The transport made of `requests`: threads with a keep-alive session each, every request under a deadline."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import requests
import structlog
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import RequestException, SSLError, Timeout
from urllib3.exceptions import HTTPError, ProtocolError
from urllib3.response import BaseHTTPResponse

from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.leadbyte.body import UnusableBody, open_body
from worker.leadbyte.connections import Line, hold_line
from worker.leadbyte.lanes import Lanes
from worker.leadbyte.room import Room
from worker.leadbyte.sessions import open_session
from worker.leadbyte.transport import BODY_CAP, CONNECT_SECONDS, LaneLook, Request, never_stop
from worker.watchdog import watchdog

MOST_THREADS = 64  # of all lanes together; each is a connection too
_PART = 64 * 1024

log = structlog.get_logger(__name__)

# Their lines hold whole URLs, and not only at DEBUG: a header that can't be parsed is a warning with the URL in it.
# A filter, since levels and handlers are set by whoever sets up logging.
for _name in ("urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(lambda _: False)


class RequestsTransport:
    """Windows over `requests`. One object a process; threads and sessions are kept between windows."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        # Last in, first out, so that as few connections as possible are in use.
        self._sessions: list[requests.Session] = []

    def open_window(
        self, *, timeout_seconds: float, stop_after: Callable[[Asked], bool] = never_stop
    ) -> RequestsWindow:
        """See `Transport`."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="leadbyte")
        return RequestsWindow(self._threads, self._sessions, timeout_seconds, stop_after)

    def close(self) -> None:
        """End the threads and close their sessions."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
        while self._sessions:
            self._sessions.pop().close()


class RequestsWindow:
    """See `Window`. A dispatcher hands each request to a thread when its moment has come."""

    def __init__(
        self,
        threads: ThreadPoolExecutor,
        sessions: list[requests.Session],
        timeout_seconds: float,
        stop_after: Callable[[Asked], bool],
    ) -> None:
        self._threads, self._sessions = threads, sessions
        self._timeout_seconds, self._stop_after = timeout_seconds, stop_after
        self._lock = threading.Lock()  # over all that follows
        self._to_dispatch = threading.Condition(self._lock)
        self._to_take = threading.Condition(self._lock)
        self._lanes = Lanes(Room(MOST_THREADS, least=MOST_THREADS))
        self._ended: list[tuple[int, Any, Asked]] = []
        self._lines: set[Line] = set()
        self._is_closed = False
        threading.Thread(target=self._dispatch, name="leadbyte-window", daemon=True).start()

    def open_lane(self, lane: int, parallel: int) -> None:
        """See `Window`."""
        with self._lock:
            self._lanes.open(lane, parallel)
            self._to_dispatch.notify()

    def add(self, lane: int, requests: Sequence[Request], gap_seconds: float = 0.0) -> None:
        """See `Window`."""
        with self._lock:
            self._lanes.add(lane, requests, gap_seconds)
            self._to_dispatch.notify()

    def stop_lane(self, lane: int) -> None:
        """See `Window`."""
        with self._lock:
            self._lanes.forget(lane)
            self._to_dispatch.notify()

    def take(self, timeout_seconds: float) -> list[tuple[int, Any, Asked]]:
        """See `Window`."""
        with self._lock:
            self._to_take.wait_for(lambda: self._ended or not self._lanes, timeout_seconds)
            taken, self._ended = self._ended, []
            self._lanes.note_taken(lane for lane, _, _ in taken)
            return taken

    def look_at(self, lane: int) -> LaneLook:
        """See `Window`."""
        with self._lock:
            return self._lanes.look_at(lane)

    def find_overrun(self, lane: int) -> float | None:
        """See `Window`."""
        with self._lock:
            return self._lanes.find_overrun(lane)

    def __len__(self) -> int:
        with self._lock:
            return len(self._lanes)

    def close(self) -> None:
        """See `Window`; what is under way is cut off."""
        with self._lock:
            self._is_closed = True
            self._to_dispatch.notify()
            for line in self._lines:
                line.cut()

    def _dispatch(self) -> None:
        with self._lock:
            while not self._is_closed:
                now = time.monotonic()
                for lane, request in self._lanes.give_up(now):
                    self._note_end(lane, request, NoAnswer(Silence.UNSENT))
                for lane, request in self._lanes.let_out(now):
                    self._lanes.note_connecting(lane, now)  # until its thread says that it has a connection
                    self._threads.submit(self._fetch, lane, request, now)
                moment = self._lanes.find_next_moment()
                self._to_dispatch.wait(None if moment == math.inf else max(0.0, moment - time.monotonic()))

    def _note_end(self, lane: int, request: Request, asked: Asked) -> None:
        self._ended.append((lane, request.tag, asked))
        self._to_take.notify()

    def _fetch(self, lane: int, request: Request, left_at: float) -> None:
        with hold_line(partial(self._note_sent, lane)) as line:
            with self._lock:
                if self._is_closed:
                    return
                self._lines.add(line)
            # Whatever fails here, or in the caller's judgement: the request ends, and nothing more of its lane is sent.
            asked: Asked = NoAnswer(Silence.BROKEN)
            must_stop = True
            try:
                asked = self._ask_over(line, request)
                must_stop = self._stop_after(asked)
            finally:
                self._end(lane, request, line, left_at, asked, must_stop=must_stop)

    def _end(self, lane: int, request: Request, line: Line, left_at: float, asked: Asked, *, must_stop: bool) -> None:
        with self._lock:
            self._lines.discard(line)
            if not line.is_sent:
                self._lanes.note_sent(lane, None)
            self._lanes.end(lane, time.monotonic() - left_at)
            if must_stop:
                self._lanes.stop(lane)
            self._note_end(lane, request, asked)
            self._to_dispatch.notify()

    def _note_sent(self, lane: int) -> None:
        with self._lock:
            self._lanes.note_sent(lane, time.monotonic())
            self._to_dispatch.notify()

    def _ask_over(self, line: Line, request: Request) -> Asked:
        session = self._take_session()
        with watchdog.limit(self._timeout_seconds, line.cut) as deadline:
            asked = _ask(session, request, self._timeout_seconds)
        self._sessions.append(session)
        # What the watchdog cut off looks like a broken connection from here, or like an answer that ended.
        return NoAnswer(Silence.TIMEOUT) if deadline.has_passed else asked

    def _take_session(self) -> requests.Session:
        try:
            return self._sessions.pop()
        except IndexError:  # not looked up before: another thread could take the last one in between
            return open_session()


def _ask(session: requests.Session, request: Request, timeout_seconds: float) -> Asked:
    """One request. Every exception ends here: their texts hold the URL, and the URL holds the key."""
    try:
        with session.get(
            request.url,
            headers=dict(request.headers),
            # Only where it comes before the deadline: which of two equal moments is met first would be chance.
            timeout=(CONNECT_SECONDS if timeout_seconds > CONNECT_SECONDS else None, timeout_seconds),
            allow_redirects=False,
            stream=True,
        ) as response:
            body = read_body(response.raw)
            retry_after = response.headers.get("retry-after")
            return Answer(response.status_code, body, None if retry_after is None else retry_after.strip())
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


def read_body(response: BaseHTTPResponse) -> bytes:
    """The body, unpacked; UnusableBody if it is larger than the cap, or packed in a way nobody asked for."""
    body = open_body(response.headers.get("content-encoding"), BODY_CAP)
    # read1, not read: it returns what has come, so that the cap is looked at between drops.
    while part := response.read1(_PART, decode_content=False):
        body.feed(part)
    return body.finish()


def _broke_off(error: RequestsConnectionError) -> bool:
    """Whether a connection that stood was lost, rather than none made."""
    return bool(error.args) and isinstance(error.args[0], ProtocolError)
