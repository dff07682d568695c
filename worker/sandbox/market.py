"""Who trades in the sandbox: campaigns, suppliers, buyers and deliveries with ids and names that never change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Campaign:
    """What leads are submitted to."""

    id: int
    name: str
    reference: str
    currency: str
    payout_pence: int


@dataclass(frozen=True, slots=True)
class Supplier:
    """Who captured the lead."""

    id: int
    name: str
    sid: str


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who may pay for it."""

    id: int
    name: str
    bid: str
    price_pence: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One way of handing a campaign's leads to one buyer."""

    id: int
    name: str
    campaign_id: int
    buyer: Buyer


CAMPAIGNS = (
    Campaign(565, "Life Insurance UK", "LIFE-UK", "GBP", 200),
    Campaign(566, "Solar Panels UK", "SOLAR-UK", "GBP", 450),
    Campaign(571, "Home Loans US", "LOANS-US", "USD", 1125),
)
SUPPLIERS = (
    Supplier(31, "Clearwater Media", "CLEAR"),
    Supplier(32, "Hilltop Search", "HILL"),
    Supplier(35, "Own Website", "OWN"),
    Supplier(38, "Paper Plane Social", "PLANE"),
)
BUYERS = (
    Buyer(901, "Northgate Cover", "NORTH", 1250),
    Buyer(902, "Fairline Finance", "FAIR", 990),
    Buyer(903, "Bright Roof Energy", "BRIGHT", 2400),
    Buyer(904, "Marlow & Sons", "MARLOW", 1575),
    Buyer(905, "Harbour Direct", "HARB", 3101),
)
DELIVERIES = tuple(
    Delivery(4000 + 10 * place + offset, f"{buyer.name} ({campaign.reference})", campaign.id, buyer)
    for place, campaign in enumerate(CAMPAIGNS)
    for offset, buyer in enumerate(BUYERS)
    # Two of three campaigns do without one of the buyers, so that ids do not line up by accident.
    if offset != place + 2
)
DELIVERIES_BY_CAMPAIGN = {
    campaign.id: tuple(delivery for delivery in DELIVERIES if delivery.campaign_id == campaign.id)
    for campaign in CAMPAIGNS
}
