"""Where a host is, without waiting for ever: getaddrinfo knows no deadline, and nothing can interrupt it.

Each lookup runs in a thread of its own, and whoever asks for the same host meanwhile waits for the same one; who gives
up leaves it behind. Used by `connections`; libcurl looks up by itself.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

STUCK_AFTER_SECONDS = 30.0  # no resolver takes so long; nobody waits for such a lookup any more
Addresses = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]


class HostLookups:
    """The lookups under way in this process."""

    def __init__(self) -> None:
        self._forget_parent()
        # A forked child inherits the lookups but not their threads, and perhaps a lock that somebody held.
        os.register_at_fork(after_in_child=self._forget_parent)

    def _forget_parent(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], tuple[Future[Addresses], float]] = {}

    def look_up(self, host: str, port: int) -> Future[Addresses]:
        """Its addresses as `socket.getaddrinfo` tells them, or what that raises."""
        now = time.monotonic()
        with self._lock:
            found, since = self._under_way.get((host, port), (None, now))
            if found is None or now - since > STUCK_AFTER_SECONDS:
                found = Future()
                # A daemon: a process does not stay for the sake of a name.
                threading.Thread(target=self._find, args=(host, port, found), name="host-lookup", daemon=True).start()
                self._under_way[host, port] = found, now
            return found

    def _find(self, host: str, port: int, found: Future[Addresses]) -> None:
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            self._forget(host, port, found)
            found.set_exception(error)
        else:
            self._forget(host, port, found)
            found.set_result(addresses)

    def _forget(self, host: str, port: int, found: Future[Addresses]) -> None:
        with self._lock:
            if self._under_way.get((host, port), (None,))[0] is found:
                del self._under_way[host, port]


host_lookups = HostLookups()
