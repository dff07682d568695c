"""The documented shape of an answer, as msgspec decodes it: a field of another name or kind is another shape.

The blocks that a market tells again and again (its campaigns, buyers, deliveries) come as they were written, and are
decoded by themselves: whoever reads them can remember each by its bytes.

Sources: LeadByte, "API Queue", and its example of an approved lead. Neighbour: `worker.domain.ordinary` reads it.
"""

from __future__ import annotations

from typing import Literal

from msgspec import DecodeError, Raw, Struct
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

    buyers: Raw = Raw()
    deliveries: Raw = Raw()
    campaign: Raw = Raw()
    supplier: Raw = Raw()


class Response(Blocks, gc=False, forbid_unknown_fields=True, rename="camel"):
    """What was decided about the lead (documented)."""

    code: int | None = None
    response: str | None = None
    info: list[str] | dict[str, str | int | float | bool | None] | None = None
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


_DECODER = Decoder(Envelope)
# Of blocks; DecodeError for one of another shape.
decode_buyers = Decoder(list[BuyerRow] | None).decode
decode_deliveries = Decoder(list[DeliveryRow] | None).decode
decode_named = Decoder(NamedRow | None).decode


def decode_ordinary(body: bytes | str) -> Record | None:
    """The record, if the answer has just this shape, in plain ASCII without escapes: no text then needs cleaning."""
    if not body.isascii() or (b"\\" in body if isinstance(body, bytes) else "\\" in body):
        return None
    try:
        (record,) = _DECODER.decode(body).records
    except DecodeError:
        return None
    return record
