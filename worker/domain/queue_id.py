"""What a queue ID looks like, and what is wrong with a text that is none.

`ac1e0206-6d6fd2fa-62ce91e7-ba33-5cc458e6` in LeadByte's articles: no UUID, hex groups 8-8-8-4-8. It is treated as
opaque; the pattern only keeps out what could never be one, or could change the meaning of a URL or a statement.
"""

from __future__ import annotations

import re

from worker.errors import InvalidQueueId

PATTERN = "[0-9A-Za-z-]{8,64}"  # the same rule stands in a CHECK (worker/store/tables.py) and in track_lead()
_LONGEST_QUOTE = 70  # characters of a refused text that a message repeats
_WHOLE = re.compile(PATTERN, re.ASCII)


def parse_queue_id(text: str) -> str:
    """The queue ID unchanged; InvalidQueueId says what is wrong with anything else."""
    if _WHOLE.fullmatch(text):
        return text
    raise InvalidQueueId(f"{_shorten(text)} is no queue ID: {_say_what_is_wrong(text)}")


def _shorten(text: str) -> str:
    return ascii(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…")


def _say_what_is_wrong(text: str) -> str:
    if not text:
        return "it is empty"
    odd = re.search("[^0-9A-Za-z-]", text, re.ASCII)
    if odd is not None:
        return f"{odd[0]!a} at position {odd.start() + 1}; only letters, digits and '-' occur"
    return f"it has {len(text):,} characters; 8 to 64 are possible"
