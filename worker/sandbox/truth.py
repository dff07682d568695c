"""What really is the case with each lead, for tests and the demo to compare with. Its own words, not LeadByte's."""

from __future__ import annotations

from typing import Any

from worker.sandbox.lead import Lead, Snapshot, snapshot_lead
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.shapes import STATUS_WORDS, money, payout_pence, select_buyers, stamp
from worker.sandbox.stories import ACCEPTED_STAGES, Stage


def tell_truth(lead: Lead, now: float, settings: SandboxSettings) -> dict[str, Any]:
    """One lead's truth at `now`; `final`: the answer is a final one, `settled`: and nothing more will come."""
    snapshot = snapshot_lead(lead, now)
    return {
        "account": lead.account,
        "story": lead.story.name,
        "fault": lead.fault,
        "submitted_at": stamp(lead.submitted_at),
        "status": STATUS_WORDS[snapshot.stage],
        "final": snapshot.is_final,
        "settled": lead.is_settled(now),
        **_tell_verdict(lead, snapshot),
        **_tell_trade(lead, snapshot, settings),
        "quarantine_id": lead.quarantine_id if snapshot.stage is Stage.QUARANTINED else None,
        "resolved_at": None if snapshot.resolved_at is None else stamp(snapshot.resolved_at),
        "resolved_unix": snapshot.resolved_at,
        "polls": lead.polls,
        "polls_until_final": lead.polls_until_final,
    }


def _tell_verdict(lead: Lead, snapshot: Snapshot) -> dict[str, Any]:
    accepted, refused = snapshot.stage in ACCEPTED_STAGES, snapshot.stage is Stage.REFUSED
    refusal = lead.outcome.refusal if refused else None
    return {
        "campaign_accepted": True if accepted else False if refused else None,
        "result_code": 1 if accepted else refusal.code if refusal else None,
        "result_reason": "OK" if accepted else refusal.response if refusal else None,
        "lead_id": lead.outcome.lead_id if accepted else None,
        "rejection_id": lead.outcome.rejection_id if refused else None,
    }


def _tell_trade(lead: Lead, snapshot: Snapshot, settings: SandboxSettings) -> dict[str, Any]:
    campaign, supplier = lead.outcome.campaign, lead.outcome.supplier
    has_payout = snapshot.stage in ACCEPTED_STAGES and snapshot.stage is not Stage.PENDING
    return {
        "campaign": {"id": campaign.id, "name": campaign.name},
        "supplier": {"id": supplier.id, "name": supplier.name},
        "buyers": [
            {
                "id": result.delivery.buyer.id,
                "name": result.delivery.buyer.name,
                "status": result.status,
                "revenue": money(result.revenue_pence),
            }
            for result in select_buyers(snapshot, settings)
        ],
        "deliveries": [
            {
                "id": result.delivery.id,
                "name": result.delivery.name,
                "buyer_id": result.delivery.buyer.id,
                "status": result.status,
                "reason": result.reason,
            }
            for result in snapshot.results
        ],
        "revenue": money(snapshot.revenue_pence),
        "payout": money(payout_pence(lead, snapshot)) if has_payout else None,
        "currency": campaign.currency,
    }
