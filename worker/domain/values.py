"""How LeadByte writes small things: ids, money, moments, flags, words; tolerant, never guessing.

Each reader returns None for "not told": LeadByte writes that as a missing field, `null`, `""`, `"-"`, `"null"`, `"N/A"`
or an unresolved `{field}` (all seen in public clients). None of them raises, whatever JSON value it is given.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]

_EMPTY = frozenset({"", "-", "--", "null", "none", "n/a", "na", "undefined", "nan"})
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_CONTROL = re.compile("[\x00-\x20\x7f-\xa0\u2028\u2029]+")
_KEY_BLANKS = re.compile(r"[\s_-]+")
# A currency before or after, nothing else: neither `10%` nor `#17` is a sum of money.
_MONEY = re.compile(
    r"(-?)(?:[A-Za-z]{0,3}[€£$¥]?\s?)(-?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,8})?)\s?[A-Za-z€£$¥]{0,4}", re.ASCII
)
_CURRENCY_CODE = re.compile(r"[A-Z]{3}", re.ASCII)
LONGEST_TEXT = 500  # characters kept of a name or reason; the raw reply stays in the journal
LARGEST_AMOUNT = Decimal(10) ** 9  # more is no price of a lead; so far below numeric(18, 6) that sums fit as well
_SMALLEST_STEP = Decimal("0.000001")  # of numeric(18, 6): what is read is then exactly what is stored
_MOST_BITS = 4096
_OLDEST_YEAR, _YOUNGEST_YEAR = 2000, 2100


def read_text(value: JSON) -> str | None:
    """A word or sentence on one line, stripped and shortened; numbers as their text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = _CONTROL.sub(" ", _write_int(value) if isinstance(value, int) else str(value)).strip()
    if text.casefold() in _EMPTY or _PLACEHOLDER.fullmatch(text):
        return None
    return text[:LONGEST_TEXT]


def read_id(value: JSON) -> str | None:
    """An id, which LeadByte writes as a number or a string; 0 is its way of saying none."""
    text = read_text(value)
    return None if text in {None, "0"} else text


def read_int(value: JSON) -> int | None:
    """A small whole number, as a number or a string (result codes)."""
    text = read_text(value)
    if text is None or not re.fullmatch(r"-?\d{1,9}(\.0+)?", text, re.ASCII):
        return None
    return int(text.split(".")[0])


def read_money(value: JSON) -> Decimal | None:
    """An amount as `"12.50"`, `12.5`, `"1,234.56"` or `"£12.50"`; None for anything else, `"Pending"` included."""
    text = read_text(value)
    match = _MONEY.fullmatch(text) if text is not None else None
    if match is None:
        return None
    try:
        amount = Decimal(match[1] + match[2].replace(",", "")).quantize(_SMALLEST_STEP)
    except InvalidOperation:
        return None
    return amount if abs(amount) < LARGEST_AMOUNT else None


def read_moment(value: JSON) -> datetime | None:
    """A moment in ISO 8601, or Unix seconds; without a zone it is taken as UTC, LeadByte's documented `Z`.

    Zero dates (`0000-00-00 00:00:00`) and years no lead can have are None; the caller keeps the raw text.
    """
    text = read_text(value)
    if text is None:
        return None
    try:
        moment = _parse_moment(text)
    except (ValueError, OverflowError, OSError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC) if _OLDEST_YEAR <= moment.year < _YOUNGEST_YEAR else None


def fold_key(key: str) -> str:
    """A field's name in one spelling: `queueId`, `queue_id`, `Queue-ID` and `queue id` are all `queueid`."""
    return _KEY_BLANKS.sub("", key).casefold()


def read_word(value: JSON) -> str | None:
    """A status word for comparing: lower case, without blanks, '_' and '-' (`Not Found` is `notfound`)."""
    text = read_text(value)
    return None if text is None else fold_key(text)[:64]


def read_currency(value: JSON) -> str | None:
    """`GBP`, or LeadByte's long form as it is (`Britain (United Kingdom), Pounds`)."""
    text = read_text(value)
    if text is not None and _CURRENCY_CODE.fullmatch(text.upper()):
        return text.upper()
    return text


def _parse_moment(text: str) -> datetime:
    if re.fullmatch(r"\d{9,10}", text, re.ASCII):
        return datetime.fromtimestamp(int(text), tz=UTC)
    return datetime.fromisoformat(text)


def _write_int(value: int) -> str:
    # str() of an int beyond 4,300 digits raises; the wire already turns those into text, this is the second lock.
    return str(value) if value.bit_length() < _MOST_BITS else ""
