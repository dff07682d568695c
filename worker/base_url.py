"""Whether a base URL is one that a key may be sent to: a plain address, encrypted unless it is this machine's own."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from worker.errors import SettingsError

_PLAIN_URL = re.compile(r"https?://[^\s/?#@\\]+(/[^\s?#@\\]*)?", re.IGNORECASE)


def check_base_url(url: str, setting: str, plain_http_allowed: bool) -> str:
    """The URL without a slash at its end; SettingsError names the setting if a key may not be sent there."""
    scheme, host = _split_base_url(url)
    if scheme is None or host is None:
        raise SettingsError(f"{setting}: expected https://host/path, without a user, a key or a query")
    if scheme == "http" and not (plain_http_allowed or _is_loopback(host)):
        raise SettingsError(
            f"{setting}: http:// would send the key to {host} unencrypted; "
            "use https://, or set LEADBYTE_ALLOW_PLAIN_HTTP=true"
        )
    return url.rstrip("/")


def _split_base_url(url: str) -> tuple[str | None, str | None]:
    """Scheme and host, None where the URL is not of the plain kind that a path can be appended to."""
    try:
        parts = urlsplit(url)
        is_plain = _PLAIN_URL.fullmatch(url) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None, None
    return (parts.scheme, parts.hostname) if is_plain else (None, None)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
