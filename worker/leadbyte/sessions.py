"""A session of `requests` as we use it: nothing of the environment, no redirects, no cookies, connections of our own.

Used by `requests_transport`.
"""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version

import certifi
import requests

from worker.leadbyte.connections import WatchedAdapter


class _Session(requests.Session):
    def get_redirect_target(self, _response: requests.Response) -> None:
        """None: even told not to follow, requests would read a redirect's body first, to its end and unpacked."""


def open_session() -> requests.Session:
    """One that keeps its connections."""
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
