"""How LeadByte words a lead: the documented JSON shapes, made from a snapshot. The facts come from `lead.py`.

Where nothing is published (a queued record, where a quarantineId stands, the fields of a block) it gives the
plausible form that LeadByte's clients are seen to read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from worker.sandbox.lead import DeliveryResult, Lead, Snapshot
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.stories import Stage

Json = dict[str, Any]

STATUS_WORDS = {
    Stage.QUEUED: "Queued",
    Stage.PENDING: "Pending",
    Stage.APPROVED: "Approved",
    Stage.UNSOLD: "Rejected",
    Stage.REFUSED: "Rejected",
    Stage.QUARANTINED: "Quarantined",
    Stage.RETURNED: "Returned",
}
_UNSOLD_INFO = ["No buyer accepted the lead"]


def stamp(at: float) -> str:
    """ISO 8601 with Z, to the second, as LeadByte writes moments."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def money(pence: int) -> str:
    """`250` → `"2.50"`."""
    return f"{pence // 100}.{pence % 100:02d}"


def shape_submission(queue_ids: Iterable[str]) -> Json:
    """The documented answer to POST /leads."""
    results = [{"queueId": queue_id, "status": "Queued", "code": 1} for queue_id in queue_ids]
    return {"status": "Success", "code": 1, "message": "", "results": results}


def shape_error(message: str, *errors: str) -> Json:
    """LeadByte's refusal of a whole call."""
    return {"status": "Error", "message": message, "errors": list(errors) or [message]}


def shape_records(records: list[Json], root_blocks: Json | None = None) -> Json:
    """The envelope of a poll."""
    return {"status": "Success", "code": 1, "message": "OK", "records": records, **(root_blocks or {})}


def shape_not_found(queue_id: str) -> Json:
    """The record of a queue ID that LeadByte does not know (any more)."""
    return {"queueId": queue_id, "status": "Not Found"}


def shape_poll(lead: Lead, snapshot: Snapshot, settings: SandboxSettings) -> Json:
    """The whole answer to a poll of one lead."""
    blocks = shape_blocks(lead, snapshot, settings)
    record = shape_record(lead, snapshot)
    if settings.blocks_in == "root":
        return shape_records([record], blocks)
    place_blocks(record, blocks, settings)
    return shape_records([record])


def shape_batch_record(lead: Lead, snapshot: Snapshot, settings: SandboxSettings) -> Json:
    """One record of a batch; a root block could not say whose it is, so it goes to the record."""
    record = shape_record(lead, snapshot)
    place_blocks(record, shape_blocks(lead, snapshot, settings), settings)
    return record


def place_blocks(record: Json, blocks: Json, settings: SandboxSettings) -> None:
    """Put the appended blocks where this LeadByte is set to put them."""
    place = record["response"] if settings.blocks_in == "response" else record
    if place is not None:
        place.update(blocks)


def shape_record(lead: Lead, snapshot: Snapshot) -> Json:
    """One entry of `records`, without the appended blocks."""
    processed_at = snapshot.since_at if snapshot.resolved_at is None else snapshot.resolved_at
    processed = None if snapshot.stage is Stage.QUEUED else stamp(processed_at)
    response = _shape_response(lead, snapshot, processed)
    return {
        "queueId": lead.queue_id,
        "status": STATUS_WORDS[snapshot.stage],
        "processed": processed,
        "response": response,
    }


def _shape_response(lead: Lead, snapshot: Snapshot, processed: str | None) -> Json | None:
    if snapshot.stage is Stage.QUEUED:
        return None
    outcome = lead.outcome
    timing: Json = {"processTime": outcome.process_seconds, "timestamp": processed}
    if snapshot.stage is Stage.REFUSED and outcome.refusal is not None:
        refusal = outcome.refusal
        words = {"code": refusal.code, "response": refusal.response, "info": refusal.info}
        return {**words, "leadId": None, "rejectionId": outcome.rejection_id, **timing}
    if snapshot.stage is Stage.QUARANTINED:
        words = {"code": None, "response": "Quarantined", "info": ["Held for review"]}
        return {**words, "leadId": None, "rejectionId": None, **timing, "quarantineId": lead.quarantine_id}
    if snapshot.stage is Stage.PENDING:
        words = {"code": 1, "response": "OK", "info": []}
        # As published in 2018: unlike the later shape it has no rejectionId.
        return {**words, "leadId": outcome.lead_id, **timing, "payout": "Pending"}
    words = {"code": 1, "response": "OK", "info": _UNSOLD_INFO if snapshot.stage is Stage.UNSOLD else []}
    payout = money(payout_pence(lead, snapshot))
    return {**words, "leadId": outcome.lead_id, "rejectionId": None, **timing, "payout": payout}


def payout_pence(lead: Lead, snapshot: Snapshot) -> int:
    """What the supplier earns by this lead as things stand."""
    return lead.outcome.campaign.payout_pence if snapshot.stage is Stage.APPROVED else 0


def shape_blocks(lead: Lead, snapshot: Snapshot, settings: SandboxSettings) -> Json:
    """The blocks the key appends; none to a lead that has no `response` yet."""
    if snapshot.stage is Stage.QUEUED:
        return {}
    campaign, supplier = lead.outcome.campaign, lead.outcome.supplier
    currency = campaign.currency
    blocks: Json = {}
    if "campaign" in settings.appended:
        blocks["campaign"] = {"id": campaign.id, "name": campaign.name, "reference": campaign.reference}
    if "supplier" in settings.appended:
        blocks["supplier"] = {"id": supplier.id, "name": supplier.name, "sid": supplier.sid}
    if "buyer" in settings.appended:
        blocks["buyers"] = [_shape_buyer(result, currency) for result in select_buyers(snapshot, settings)]
    if "deliveries" in settings.appended:
        blocks["deliveries"] = [_shape_delivery(result) for result in snapshot.results]
    if "lead" in settings.appended:
        blocks["lead"] = lead.fields
    return blocks


def select_buyers(snapshot: Snapshot, settings: SandboxSettings) -> list[DeliveryResult]:
    """The results in which a buyer has answered; with fewer statuses included, those that bought."""
    shown = {"Sold", "Unsold", "Returned"} if settings.all_buyer_statuses else {"Sold"}
    return [result for result in snapshot.results if result.status in shown]


def _shape_buyer(result: DeliveryResult, currency: str) -> Json:
    buyer = result.delivery.buyer
    names = {"id": buyer.id, "bid": buyer.bid, "name": buyer.name}
    return {**names, "status": result.status, "revenue": money(result.revenue_pence), "currency": currency}


def _shape_delivery(result: DeliveryResult) -> Json:
    delivery = result.delivery
    return {
        "id": delivery.id,
        "name": delivery.name,
        "status": result.status,
        "reason": result.reason,
        "buyerId": delivery.buyer.id,
        "bid": delivery.buyer.bid,
    }
