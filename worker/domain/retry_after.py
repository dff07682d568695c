"""How long a `Retry-After` asks us to wait: seconds or an HTTP date (RFC 9110, 10.2.3), bounded whatever it says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

DEFAULT_WAIT = timedelta(seconds=15)  # a 429 that does not say how long, or says it unreadably
SHORTEST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=15)  # a longer ban is asked about again; the answer then says so again


def read_retry_after(header: str | None, now: datetime) -> timedelta:
    """The wait, between SHORTEST_WAIT and LONGEST_WAIT; DEFAULT_WAIT where nothing usable was said."""
    wait = _parse(header.strip(), now) if header else None
    if wait is None or wait < timedelta(0):
        return DEFAULT_WAIT
    return min(max(wait, SHORTEST_WAIT), LONGEST_WAIT)


def _parse(header: str, now: datetime) -> timedelta | None:
    if re.fullmatch(r"\d+(\.\d+)?", header, re.ASCII):
        return timedelta(seconds=min(float(header), LONGEST_WAIT.total_seconds()))
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return moment - now
