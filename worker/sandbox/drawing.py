"""How chance is drawn: queue IDs, waits, and what becomes of each delivery. Everything follows from the seed."""

from __future__ import annotations

import math
import random

from worker.sandbox.lead import DeliveryResult, Outcome
from worker.sandbox.market import CAMPAIGNS, DELIVERIES_BY_CAMPAIGN, SUPPLIERS, Campaign, Supplier
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.stories import Stage, Story

# First group of both published queue IDs; it reads like the address of the machine that queued the lead.
_QUEUE_HOST = "ac1e0206"
_SKIPPED_REASONS = ("Rule mismatch", "Delivery not in adv distro")


def draw_queue_id(chance: random.Random, queued_at: float) -> str:
    """Hex 8-8-8-4-8; the third group is the Unix second of queueing, as in LeadByte's examples."""
    bits = chance.getrandbits(80)
    return f"{_QUEUE_HOST}-{bits & 0xFFFFFFFF:08x}-{int(queued_at):08x}-{bits >> 32 & 0xFFFF:04x}-{bits >> 48:08x}"


def draw_waits(chance: random.Random, story: Story, settings: SandboxSettings) -> list[tuple[float, Stage]]:
    """Each stage of the story with the seconds before it, lognormal around the median."""
    return [(_draw_wait(chance, stage, settings), stage) for stage in story.stages]


def median_wait(stage: Stage, settings: SandboxSettings) -> float:
    """The median seconds before a stage; returns take longer."""
    if stage is Stage.RETURNED:
        return 3 * settings.median_seconds if settings.return_seconds is None else settings.return_seconds
    return settings.median_seconds


def _draw_wait(chance: random.Random, stage: Stage, settings: SandboxSettings) -> float:
    median = median_wait(stage, settings)
    return chance.lognormvariate(math.log(median), settings.sigma) if median > 0 else 0.0


def draw_outcome(
    chance: random.Random, story: Story, number: int, *, campaign_id: object = None, sid: object = None
) -> Outcome:
    """Everything a lead may come to show; `number` makes its ids unique."""
    campaign = _find_campaign(campaign_id) or chance.choice(CAMPAIGNS)
    return Outcome(
        campaign=campaign,
        supplier=_find_supplier(sid) or chance.choice(SUPPLIERS),
        lead_id=7_185_867 + number,
        rejection_id=3_310_400 + number,
        process_seconds=round(chance.uniform(0.07, 0.8), 2),
        results=_draw_results(chance, campaign, story.sold_to),
        refusal=story.refusal,
    )


def _find_campaign(campaign_id: object) -> Campaign | None:
    names = {str(campaign_id)}
    return next((campaign for campaign in CAMPAIGNS if names & {str(campaign.id), campaign.reference}), None)


def _find_supplier(sid: object) -> Supplier | None:
    names = {str(sid)}
    return next((supplier for supplier in SUPPLIERS if names & {str(supplier.id), supplier.sid}), None)


def _draw_results(chance: random.Random, campaign: Campaign, sold_to: int) -> tuple[DeliveryResult, ...]:
    """`sold_to` deliveries Sold, one Skipped, the others Unsold."""
    deliveries = list(DELIVERIES_BY_CAMPAIGN[campaign.id])
    chance.shuffle(deliveries)
    sold, skipped, unsold = deliveries[:sold_to], deliveries[sold_to], deliveries[sold_to + 1 :]
    results = [
        *(DeliveryResult(delivery, "Sold", None, _draw_price(chance, delivery.buyer.price_pence)) for delivery in sold),
        DeliveryResult(skipped, "Skipped", chance.choice(_SKIPPED_REASONS)),
        *(DeliveryResult(delivery, "Unsold", "Declined by buyer") for delivery in unsold),
    ]
    return tuple(sorted(results, key=lambda result: result.delivery.id))


def _draw_price(chance: random.Random, list_price_pence: int) -> int:
    """Buyers pay the list price give or take a fifth."""
    return round(list_price_pence * chance.uniform(0.8, 1.2))
