"""`Retry-After` in every form it comes in: always a wait within its bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.retry_after import DEFAULT_WAIT, LONGEST_WAIT, SHORTEST_WAIT, read_retry_after

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
numbers = st.from_regex(r"[-+]?\d{1,400}(\.\d{0,20})?", fullmatch=True)
dates = st.from_regex(
    r"(Mon, )?\d{1,5} (Jan|Feb|Dec) \d{1,9} \d{1,3}:\d{1,3}:\d{1,3} ?(GMT|[-+]\d{1,6})?", fullmatch=True
)


@given(st.none() | st.text() | numbers | dates)
def test_no_header_makes_us_wait_longer_or_shorter_than_the_bounds(header: str | None) -> None:
    assert SHORTEST_WAIT <= read_retry_after(header, NOW) <= LONGEST_WAIT


@given(st.datetimes(timezones=st.just(UTC)))
def test_no_date_makes_us_wait_longer_or_shorter_than_the_bounds(moment: datetime) -> None:
    assert SHORTEST_WAIT <= read_retry_after(format_datetime(moment), NOW) <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("2", timedelta(seconds=2)),
        (" 120 ", timedelta(seconds=120)),
        ("1.5", timedelta(seconds=1.5)),
        ("0", SHORTEST_WAIT),
        ("99999999999", LONGEST_WAIT),
        ("9" * 5000, LONGEST_WAIT),
        ("Sun, 01 Mar 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("Sun, 01 Mar 2026 13:00:30 +0100", timedelta(seconds=30)),
        ("Sun, 01 Mar 2026 12:00:30 -0000", timedelta(seconds=30)),
        ("Fri, 31 Dec 2099 23:59:59 GMT", LONGEST_WAIT),
        ("Wed, 21 Oct 2015 07:28:00 GMT", DEFAULT_WAIT),
        ("-5", DEFAULT_WAIT),
        ("soon", DEFAULT_WAIT),
        ("", DEFAULT_WAIT),
        (" ", DEFAULT_WAIT),
        ("٣", DEFAULT_WAIT),
        ("1, 2", DEFAULT_WAIT),
        ("nan", DEFAULT_WAIT),
        (None, DEFAULT_WAIT),
    ],
)
def test_a_header_asks_for_its_wait(header: str | None, wait: timedelta) -> None:
    assert read_retry_after(header, NOW) == wait
