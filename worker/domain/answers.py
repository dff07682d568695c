"""What comes back when LeadByte is asked: an answer of some kind, or none, as values.

Neighbours: `worker.leadbyte` makes them, `worker.domain.classify` says what they mean.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Silence(StrEnum):
    """Why there is no answer; the values are what people read in `show`."""

    TIMEOUT = "no complete answer within the deadline"
    CONNECTION = "connection failed"
    TLS = "TLS failed"
    BROKEN = "answer broke off or was no HTTP"
    TOO_LARGE = "answer was larger than the cap"
    ENCODING = "answer used an encoding we did not ask for"
    UNSENT = "not asked this time"


class Answer(Struct, frozen=True, gc=False):
    """A complete HTTP answer: status, decoded body (bytes, capped), and `Retry-After` as it was sent."""

    http_status: int
    body: bytes
    retry_after: str | None = None


class NoAnswer(Struct, frozen=True, gc=False):
    """No complete answer. Carries no exception and no URL, since the key may be in it."""

    why: Silence


Asked = Answer | NoAnswer
