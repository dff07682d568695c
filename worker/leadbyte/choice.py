"""Which transport this process uses: libcurl where it is installed, unless the settings say otherwise."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from worker.errors import SettingsError
from worker.leadbyte.requests_transport import RequestsTransport
from worker.leadbyte.transport import Transport

TransportName = Literal["curl", "requests"]


def choose_transport(wanted: Literal["auto", "curl", "requests"]) -> TransportName:
    """The transport's name for what LEAD_RESOLVER_TRANSPORT says; SettingsError if it is not installed."""
    is_curl_here = find_spec("pycurl") is not None
    if wanted == "curl" and not is_curl_here:
        raise SettingsError("LEAD_RESOLVER_TRANSPORT: curl needs pycurl: pip install 'lead-resolver[fast]'")
    return "curl" if is_curl_here and wanted != "requests" else "requests"


def open_transport(wanted: Literal["auto", "curl", "requests"]) -> Transport:
    """The transport that `choose_transport` names. To be called after the fork."""
    if choose_transport(wanted) == "requests":
        return RequestsTransport()
    # Late: pycurl may not be there.
    from worker.leadbyte.curl_transport import CurlTransport

    return CurlTransport()
