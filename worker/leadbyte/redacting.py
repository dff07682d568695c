"""A reply's shape, fit to be shown to anybody: names and status words, and of every value only its kind."""

from __future__ import annotations

import json
import re

from worker.domain.values import JSON

LONGEST_SAMPLE = 16 * 1024  # characters
# What a field is called, and what a status may be: neither an address, nor a number of anybody's.
_NAME = re.compile(r"[A-Za-z_][A-Za-z_ .-]{0,39}\d{0,3}", re.ASCII)
_WORD = re.compile(r"[^@\d]{0,60}\d{0,4}")


def describe_shape(document: JSON) -> str:
    """The document with every value but status words replaced by its kind: safe to show to anybody."""
    return json.dumps(_redact(document), ensure_ascii=False)[:LONGEST_SAMPLE]


def _redact(value: JSON, key: str = "") -> JSON:
    if isinstance(value, dict):
        return {_redact_name(name): _redact(inner, name) for name, inner in list(value.items())[:50]}
    if isinstance(value, list):
        return [_redact(inner) for inner in value[:3]]
    if value is None or isinstance(value, bool) or (key.casefold() == "status" and _is_word(value)):
        return value
    return "text" if isinstance(value, str) else "number"


def _redact_name(name: str) -> str:
    """In a map by ID, address or telephone number the names are values as well."""
    return name if _NAME.fullmatch(name) else "(a name)"


def _is_word(value: JSON) -> bool:
    return not isinstance(value, str) or _WORD.fullmatch(value) is not None
