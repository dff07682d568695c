"""How LeadByte writes small things: ids, money, moments, flags, words; tolerant, never guessing.

Each reader returns None for "not told": LeadByte writes that as a missing field, `null`, `""`, `"-"`, `"null"`, `"N/A"`
or an unresolved `{field}` (all seen in public clients). None of them raises, whatever JSON value it is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]
Block = Mapping[str, JSON]

_EMPTY = frozenset({"", "-", "--", "null", "none", "n/a", "na", "undefined", "nan"})
_LONGEST_EMPTY = 9
_YES = frozenset({"1", "yes", "y", "true", "on"})
_NO = frozenset({"0", "no", "n", "false", "off"})
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_PLAIN_TEXT = re.compile(r"[!-z]+(?: [!-z]+)*")
_CONTROL = re.compile("[\x00-\x20\x7f-\xa0\u2028\u2029]+")
_KEY_BLANKS = re.compile(r"[\s_-]+")
# A currency before or after, nothing else: neither `10%`, `#17` nor `12p` is a sum that is told for sure.
_CURRENCY = r"[A-Z]{3}|[A-Z]{0,2}[€£$¥]"
# A comma is the decimal sign only where it can be nothing else: before two digits, after groups of another sign.
_MONEY = re.compile(
    rf"([-+]?)((?:{_CURRENCY})?)\s?(-?(?:"
    r"(?:\d{1,3}(?P<group>[, '])\d{3}(?:(?P=group)\d{3})*|\d{1,15})(?:\.\d{1,25})?|\.\d{1,25}"
    r"|(?:\d{1,3}(?P<other>[. '])\d{3}(?:(?P=other)\d{3})*|\d{1,15})(?P<cents>,\d\d)"
    rf"))\s?((?P<after>{_CURRENCY})|pounds?|euros?|dollars?)?",
    re.ASCII | re.IGNORECASE,
)
_PLAIN_MONEY = re.compile(r"\d{1,9}(\.\d{1,6})?", re.ASCII)
_SIGNS = {"£": "GBP", "€": "EUR"}  # `$` and `¥` are several currencies
_ISO_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_CURRENCY_CODE = re.compile(r"[A-Z]{3}", re.ASCII)
LONGEST_TEXT = 500  # characters kept of a name or reason; the raw reply stays in the journal
LONGEST_ID = 128  # characters; a cut ID would be another one, so a longer one is no ID
_LONGEST_NAME = 64  # characters of a field's name worth remembering in its folded spelling
_MOST_NAMES = 4096
LARGEST_AMOUNT = Decimal(10) ** 9  # more is no price of a lead; so far below numeric(18, 6) that sums fit as well
_SMALLEST_STEP = Decimal("0.000001")  # of numeric(18, 6): what is read is then exactly what is stored
_MOST_BITS = 4096
_ORDINARY_INT = 10**18
_OLDEST_YEAR, _YOUNGEST_YEAR = 2000, 2100


def read_text(value: JSON) -> str | None:
    """A word or sentence on one line, stripped and shortened; numbers as their text."""
    text = _read_whole_text(value)
    return text if text is None or len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT]


def _read_whole_text(value: JSON) -> str | None:
    if isinstance(value, str):
        if _PLAIN_TEXT.fullmatch(value):  # as nearly all texts are: nothing to be cleaned of, no placeholder
            return None if len(value) <= _LONGEST_EMPTY and value.casefold() in _EMPTY else value
        text = _CONTROL.sub(" ", value).strip()
        return None if text.casefold() in _EMPTY or _PLACEHOLDER.fullmatch(text) else text
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return (_write_int(value) if isinstance(value, int) else str(value)) or None


def read_id(value: JSON) -> str | None:
    """An id, which LeadByte writes as a number or a string; 0 is its way of saying none."""
    if isinstance(value, int) and 1 < value < _ORDINARY_INT:  # which True is not
        return str(value)
    text = _read_whole_text(int(value) if isinstance(value, float) and value.is_integer() else value)
    return None if text is None or text == "0" or len(text) > LONGEST_ID else text


def read_flag(value: JSON) -> bool | None:
    """A yes or no: `true`, `1`, `"1"`, `"Yes"` (seen) and their opposites; None for anything else."""
    if isinstance(value, bool):
        return value
    word = read_text(value)
    return None if word is None else True if word.casefold() in _YES else False if word.casefold() in _NO else None


def read_int(value: JSON) -> int | None:
    """A small whole number, as a number or a string (result codes)."""
    text = read_text(value)
    if text is None or not re.fullmatch(r"-?\d{1,9}(\.0+)?", text, re.ASCII):
        return None
    return int(text.split(".")[0])


def read_money(value: JSON) -> Decimal | None:
    """An amount as `"12.50"`, `12.5`, `"1,234.56"`, `"1.234,56"`, `"£12.50"`, `{"amount": …}`; None for "Pending"."""
    if isinstance(value, str) and _PLAIN_MONEY.fullmatch(value):
        return Decimal(value).quantize(_SMALLEST_STEP)
    match = _match_money(value)
    if match is None:
        return None
    try:
        amount = Decimal(match[1] + _write_plainly(match)).quantize(_SMALLEST_STEP)
    except InvalidOperation:
        return None
    return amount if abs(amount) < LARGEST_AMOUNT else None


def read_currency_of(value: JSON) -> str | None:
    """The currency that an amount itself carries: `"£12.50"`, `"12.50 GBP"`, `{"amount": …, "currency": …}`."""
    if isinstance(value, str) and _PLAIN_MONEY.fullmatch(value):
        return None
    value = unwrap(value)
    if isinstance(value, dict):
        return read_currency(fold_keys(value).get("currency"))
    match = _match_money(value) if isinstance(value, str) else None
    sign = (match[2] or match["after"] or "").upper() if match else ""
    return _SIGNS.get(sign) or (sign if _CURRENCY_CODE.fullmatch(sign) else None)


def _write_plainly(match: re.Match[str]) -> str:
    number, cents = match[3], match["cents"] or ""
    digits = number.removesuffix(cents).replace(match["group"] or match["other"] or " ", "")
    return f"{digits}.{cents[1:]}" if cents else digits


def _match_money(value: JSON) -> re.Match[str] | None:
    value = unwrap(value)
    if isinstance(value, dict):
        inner = fold_keys(value)
        value = next((inner[name] for name in ("amount", "value", "total", "revenue") if name in inner), None)
    text = read_text(value)
    return None if text is None else _MONEY.fullmatch(text)


def read_moment(value: JSON) -> datetime | None:
    """A moment in ISO 8601, Unix (milli)seconds or as mails write it; without a zone it is UTC, the documented `Z`.

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


class _FoldedNames(dict[str, str]):
    """Names in their folded spelling, made once each: every reply has the same ones. A stranger's are not kept."""

    def __missing__(self, key: str) -> str:
        name = _KEY_BLANKS.sub("", key).casefold()
        if len(key) <= _LONGEST_NAME and len(self) < _MOST_NAMES:
            self[key] = name
        return name


_FOLDED = _FoldedNames()


def fold_key(key: str) -> str:
    """A field's name in one spelling: `queueId`, `queue_id`, `Queue-ID` and `queue id` are all `queueid`."""
    return _FOLDED[key]


def fold_keys(value: JSON) -> Block:
    """An object with its keys in one spelling, see `fold_key`; an empty one for anything else.

    What two spellings of one name tell differently is not told.
    """
    if not isinstance(value, dict):
        return {}
    folded = {_FOLDED[key]: inner for key, inner in value.items()}
    return folded if len(folded) == len(value) else _fold_spellings(value)


def _fold_spellings(value: dict[str, JSON]) -> Block:
    told: dict[str, list[JSON]] = {}
    for key, inner in value.items():
        told.setdefault(_FOLDED[key], []).append(inner)
    return {name: agree(values) for name, values in told.items()}


def agree(values: Sequence[JSON]) -> JSON:
    """What several values of one name tell together: None where they contradict each other; empty ones never do."""
    told = [value for value in values if value is not None and value != ""]
    if not told:
        return values[0]
    return told[0] if all(value == told[0] for value in told) else None


def read_word(value: JSON) -> str | None:
    """A status word for comparing: lower case, without blanks, '_' and '-' (`Not Found` is `notfound`)."""
    text = read_text(value)
    return None if text is None else fold_key(text)[:64]


def unwrap(value: JSON) -> JSON:
    """What a list holds, where it is one thing."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def read_wrapped_text(value: JSON) -> str | None:
    """A text, also that of `["Approved"]` and `{"name": "Approved"}`."""
    value = unwrap(value)
    if isinstance(value, dict):
        inner = fold_keys(value)
        value = next((inner[name] for name in ("status", "name", "value", "text") if name in inner), None)
    return read_text(value)


def read_currency(value: JSON) -> str | None:
    """`GBP`, `£`, `{"code": "GBP"}`, or LeadByte's long form as it is (`Britain (United Kingdom), Pounds`)."""
    if isinstance(value, str) and _CURRENCY_CODE.fullmatch(value):
        return value
    value = unwrap(value)
    if isinstance(value, dict):
        inner = fold_keys(value)
        value = next((inner[name] for name in ("code", "iso", "currency", "symbol", "name") if name in inner), None)
    text = read_text(value)
    if text is not None and _CURRENCY_CODE.fullmatch(text.upper()):
        return text.upper()
    return None if text is None else _SIGNS.get(text, text)


def _parse_moment(text: str) -> datetime:
    if _ISO_MOMENT.fullmatch(text):
        return datetime.fromisoformat(text)
    if unix := re.fullmatch(r"(\d{9,10})(\.\d{1,9}|\d{3})?", text, re.ASCII):  # the last three: milliseconds
        return datetime.fromtimestamp(int(unix[1]), tz=UTC)
    try:
        return datetime.fromisoformat(re.sub(r" ?(UTC|GMT|z)$", "Z", re.sub(r"^(\d{4})/(\d\d)/", r"\1-\2-", text)))
    except ValueError:
        return parsedate_to_datetime(text)


def _write_int(value: int) -> str:
    # str() of an int beyond 4,300 digits raises; the wire already turns those into text, this is the second lock.
    return str(value) if value.bit_length() < _MOST_BITS else ""
