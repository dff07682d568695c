"""The documented shape of an answer, as msgspec decodes it: a field of another name or kind is another shape.

Twice: with all that is in it checked, as an answer has to be that comes from LeadByte; and with its blocks, which a
market tells again and again, left as they were written, for whoever reads the journal and remembers what they mean.

Sources: LeadByte, "API Queue", and its example of an approved lead. Neighbour: `worker.domain.ordinary` reads it.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType
from msgspec.json import Decoder

Id = int | str | None
Amount = int | float | str | None


class BuyerRow(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One of `buyers`; its fields are inferred but for `status` and `revenue` (seen)."""

    id: Id = None
    bid: Id = None
    name: str | None = None
    status: str | None = None
    revenue: Amount = None
    currency: str | None = None


class DeliveryRow(Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename="camel"):
    """One of `deliveries` (inferred)."""

    id: Id = None
    name: str | None = None
    reference: str | None = None
    status: str | None = None
    reason: str | None = None
    buyer_id: Id = None
    bid: Id = None
    revenue: Amount = None


class NamedRow(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A campaign or supplier (inferred)."""

    id: Id = None
    name: str | None = None
    reference: Id = None
    sid: Id = None


class Blocks(Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    """What the key's settings append, to the record or to its `response` (documented; the places are inferred)."""

    buyers: list[BuyerRow] | None = None
    deliveries: list[DeliveryRow] | None = None
    campaign: NamedRow | None = None
    supplier: NamedRow | None = None


class Response(Blocks, gc=False, forbid_unknown_fields=True, rename="camel"):
    """What was decided about the lead (documented)."""

    code: int | None = None
    response: str | None = None
    info: list[str] | dict[str, str | int | float | bool | None] | UnsetType | None = UNSET
    lead_id: Id = None
    rejection_id: Id = None
    process_time: Amount = None
    timestamp: str | None = None
    payout: Amount = None


class Record(Blocks, gc=False, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """One of `records`: a lead (documented)."""

    queue_id: str
    status: str
    processed: str | None = None
    response: Response | None = None


class Envelope(Struct, gc=False, forbid_unknown_fields=True):
    """The whole answer (documented): one record, and good news."""

    status: Literal["Success"]
    code: Literal[1]
    message: Literal["OK", ""]
    records: tuple[Record]


class WrittenResponse(Response, gc=False, forbid_unknown_fields=True, rename="camel"):
    """The same, its blocks as they were written."""

    buyers: Raw = Raw()  # type: ignore[assignment]
    deliveries: Raw = Raw()  # type: ignore[assignment]
    campaign: Raw = Raw()  # type: ignore[assignment]
    supplier: Raw = Raw()  # type: ignore[assignment]


class WrittenRecord(Record, gc=False, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The same, its blocks as they were written."""

    buyers: Raw = Raw()  # type: ignore[assignment]
    deliveries: Raw = Raw()  # type: ignore[assignment]
    campaign: Raw = Raw()  # type: ignore[assignment]
    supplier: Raw = Raw()  # type: ignore[assignment]
    response: WrittenResponse | None = None


class WrittenEnvelope(Envelope, gc=False, forbid_unknown_fields=True):
    """The same."""

    records: tuple[WrittenRecord]


_decode, _decode_written = Decoder(Envelope).decode, Decoder(WrittenEnvelope).decode
# Of blocks as they were written; DecodeError for one of another shape.
decode_buyers = Decoder(list[BuyerRow] | None).decode
decode_deliveries = Decoder(list[DeliveryRow] | None).decode
decode_named = Decoder(NamedRow | None).decode


def decode_ordinary(body: bytes) -> Record | None:
    """The record, if the answer has just this shape, in plain ASCII without escapes: no text then needs cleaning."""
    if not body.isascii() or b"\\" in body:
        return None
    try:
        (record,) = _decode(body).records
    except DecodeError:
        return None
    return record


def decode_written(body: str) -> WrittenRecord | None:
    """The same of a text in the journal, with its blocks not looked into."""
    if not body.isascii() or "\\" in body:
        return None
    try:
        (record,) = _decode_written(body).records
    except (DecodeError, RecursionError):  # what is not looked into may be of any depth
        return None
    return record
