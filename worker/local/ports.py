"""Which port of 127.0.0.1 is free?"""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


def choose_free_port() -> int:
    """A port nobody listens on now; somebody may take it before we do, so callers try again."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_port_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket() as probe:
        # As servers do: connections of a server just stopped linger, and do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
