"""What asking for actions would do: which IDs it would take, and the requests that LeadByte would get.

Records nothing. Neighbours: `worker.quarantine` says which IDs, `worker.leadbyte.acting` composes the requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from worker.domain.actions import Kind
from worker.leadbyte.acting import Call, Item, compose_process, compose_put
from worker.quarantine import FieldValue, Requested
from worker.sending import WAYS
from worker.store.actions import MOST_ITEMS


def compose_calls(kind: Kind, asked: Sequence[Requested], fields: Mapping[str, FieldValue] | None) -> Iterator[Call]:
    """The requests about the IDs that would be newly requested, as they would be sent."""
    ids = iter([one.quarantine_id for one in asked if one.outcome == "requested" and one.quarantine_id is not None])
    way = WAYS.get(kind)
    if way is not None and not fields:
        yield from (compose_process(held, way) for held in ids)
        return
    while page := list(islice(ids, MOST_ITEMS)):
        yield compose_put([Item(held, fields or {}, way) for held in page])
