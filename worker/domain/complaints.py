"""What an answer says where it is no record: LeadByte's own words about an error, in JSON or in plain text.

Documented nowhere; `{"status":"Error","message":…,"errors":[…]}` was seen in four clients, on HTTP 200 as well. Where
no record stands in the answer, other shapes of complaint are heard too. `worker.domain.refusals` judges the words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from worker.domain.records import LEAD_DATA, PRESENT
from worker.domain.values import JSON, Block, fold_keys, read_flag, read_int, read_text, read_word

ERROR_WORDS = frozenset({"error", "errors", "failed", "fail", "failure"})
_FINE_WORDS = frozenset({"success", "ok", "true"})
SPOKEN = ("message", "error", "errors", "errormessage", "errordescription", "msg", "reason", "detail", "description")
_CODES = ("code", "statuscode", "httpcode", "errorcode", "httpstatus", "status")
_ABOUT = ("field", "parameter", "param")  # what an error is about, beside its words
NO_WORDS = "status Error without a message"
LONGEST_SENTENCE = 300  # characters; more plain text is a page, not a word to us
LONGEST_NOISE = 20_000  # characters of text that are looked at
_MOST_WORDS = 6
# A block with any of these is about the consumer, also as the journal keeps it: nothing in it is said to us.
_ABOUT_THE_LEAD = frozenset({*LEAD_DATA, PRESENT})
_DEEPEST = 3
# What PHP prints before or instead of an answer; the names of files and variables in it are no words to us.
_DIAGNOSTIC = re.compile(
    r"(<br\s*/?>\s*)?(<b>)?(PHP )?(Warning|Notice|Deprecated|Strict Standards|(Fatal|Parse) error)(</b>)?:"
    r".{0,2000}? on line (<b>)?\d+(</b>)?(<br\s*/?>)?",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """The words, and the HTTP-like code they came with; `is_error` says that the answer calls itself an error."""

    words: str
    is_error: bool
    code: int | None = None


def hear_complaint(document: JSON, text: str, *, has_records: bool) -> Complaint | None:
    """What the answer complains of; None where it doesn't."""
    if isinstance(document, dict):
        return _hear_object(fold_keys(document), has_records=has_records)
    if has_records:
        return None
    if isinstance(document, list):
        words = join_words(document)
        inner = next((fold_keys(item) for item in document[:5] if isinstance(item, dict)), {})
        return Complaint(words, is_error=False, code=_read_code(inner)) if words else None
    sentence = document if isinstance(document, str) else strip_diagnostics(text[:LONGEST_NOISE]).strip()
    said = read_text(sentence)
    if said is None or len(sentence) > LONGEST_SENTENCE or sentence.startswith(("<", "{", "[")):
        return None
    return Complaint(said, is_error=False)


def join_words(value: JSON) -> str:
    """The words in a value of any shape, on one line; empty where there is none."""
    return _join(_say(value, _DEEPEST))


def strip_diagnostics(text: str) -> str:
    """The text without PHP's warnings."""
    return _DIAGNOSTIC.sub(" ", text)


def _hear_object(root: Block, *, has_records: bool) -> Complaint | None:
    status = read_word(root.get("status"))
    is_error = status in ERROR_WORDS
    if has_records and not is_error and read_flag(root.get("success")) is not False:
        return None
    told = [name for name in SPOKEN if name in root]
    said = [word for name in told for word in _say(root[name], _DEEPEST)]
    if not is_error and status is not None and status not in _FINE_WORDS:
        said.append(read_text(root["status"]) or "")
    is_error = is_error or read_flag(root.get("success")) is False or (not has_records and _is_told(root.get("error")))
    code = None if has_records else _find_code(root)
    words = _join(iter(said))
    if not words and not is_error and code is None:
        return None
    return Complaint(words or NO_WORDS, is_error or (code or 0) >= 400, code)  # noqa: PLR2004


def _find_code(root: Block) -> int | None:
    errors = root.get("errors")
    inside = [root.get("error"), *(errors[:_MOST_WORDS] if isinstance(errors, list) else [errors])]
    codes = (_read_code(block) for block in (root, *map(fold_keys, inside)))
    return next((code for code in codes if code is not None), None)


def _is_told(value: JSON) -> bool:
    return bool(value) if isinstance(value, list | dict) else read_text(value) is not None


def _read_code(root: Block) -> int | None:
    """A code as HTTP has them, wherever it is told; LeadByte's own are 1 and below 0."""
    codes = (read_int(root.get(name)) for name in _CODES)
    return next((code for code in codes if code is not None and (code < 0 or 400 <= code < 600)), None)  # noqa: PLR2004


def _say(value: JSON, depth: int) -> Iterator[str]:
    if isinstance(value, list):
        for item in value[:5] if depth else ():
            yield from _say(item, depth - 1)
    elif isinstance(value, dict):
        inner = fold_keys(value)
        spoken = [inner[name] for name in SPOKEN if name in inner]
        about = next((f"{field}: " for name in _ABOUT if (field := read_text(inner.get(name)))), "")
        for item in spoken if depth else ():
            yield from (f"{about}{word}" for word in _say(item, depth - 1))
        if not spoken and depth:
            for name, item in islice(inner.items(), 5) if inner.keys().isdisjoint(_ABOUT_THE_LEAD) else ():
                yield from (f"{name}: {word}" if not name.isdecimal() else word for word in _say(item, depth - 1))
    elif (text := read_text(value)) is not None:
        yield text


def _join(words: Iterator[str]) -> str:
    return "; ".join(islice(dict.fromkeys(word for word in words if word), _MOST_WORDS))
