"""What is known of a lead beside its state: acceptance, sale, buyers, deliveries, money; and how news joins it.

Three things are kept apart: *absent* (None: not told), *empty* (an empty tuple: told that there is none) and
*present*. An absent fact never erases a known one: a key may simply not append the block (LeadByte, "API Queue").
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from worker.domain.lifecycle import FINAL, State

LARGEST_TOTAL = Decimal(10) ** 12  # numeric(18, 6) in Postgres


@dataclass(frozen=True, slots=True)
class Named:
    """A campaign or supplier: id, name, or only one of them."""

    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Buyer:
    """One buyer's verdict; `key` is what tells it from the lead's other buyers: id, else bid, else name."""

    key: str
    id: str | None = None
    bid: str | None = None
    name: str | None = None
    status: str | None = None
    revenue: Decimal | None = None
    currency: str | None = None

    @property
    def bought(self) -> bool:
        """Whether this buyer holds the lead and owes for it."""
        return self.status is not None and self.status.casefold() == "sold"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of the lead to a buyer's system; `key` is its id, else its name and buyer."""

    key: str
    id: str | None = None
    name: str | None = None
    buyer_id: str | None = None
    status: str | None = None
    reason: str | None = None
    revenue: Decimal | None = None

    @property
    def sold(self) -> bool:
        """Whether this delivery sold the lead."""
        return self.status is not None and self.status.casefold() == "sold"


@dataclass(frozen=True, slots=True)
class Facts:
    """All that replies have told of one lead. None always means "not told"."""

    campaign_accepted: bool | None = None
    result_code: int | None = None
    result_reason: str | None = None
    lead_id: str | None = None
    rejection_id: str | None = None
    campaign: Named | None = None
    supplier: Named | None = None
    sold: bool | None = None
    buyers: tuple[Buyer, ...] | None = None
    deliveries: tuple[Delivery, ...] | None = None
    revenue: Decimal | None = None
    payout: Decimal | None = None
    payout_pending: bool | None = None
    currency: str | None = None
    quarantine_id: str | None = None
    processed_at: datetime | None = None
    processed_raw: str | None = None


Row = TypeVar("Row", Buyer, Delivery)


def merge_facts(known: Facts, told: Facts) -> Facts:
    """What is known after `told`: news replaces, silence keeps, buyers and deliveries join by their key."""
    news = {f.name: value for f in fields(Facts) if (value := getattr(told, f.name)) is not None}
    if told.campaign is not None:
        news["campaign"] = _merge_named(known.campaign, told.campaign)
    if told.supplier is not None:
        news["supplier"] = _merge_named(known.supplier, told.supplier)
    if told.buyers is not None:
        news["buyers"] = _merge_rows(known.buyers, told.buyers)
    if told.deliveries is not None:
        news["deliveries"] = _merge_rows(known.deliveries, told.deliveries)
    return replace(known, **news)


def derive_facts(facts: Facts, state: State) -> Facts:
    """Fill in what follows from the parts.

    Revenue is the sum over the buyers that bought. A sale is one buyer's or one delivery's "Sold"; "not sold" is said
    only once the verdict is final, since a block may show the unsold first.
    """
    bought = [buyer for buyer in facts.buyers or () if buyer.bought]
    amounts = [buyer.revenue for buyer in bought if buyer.revenue is not None]
    return replace(
        facts,
        sold=_derive_sold(facts, state, bool(bought)),
        revenue=_add_up(amounts) if amounts else facts.revenue,
        currency=facts.currency or next((buyer.currency for buyer in bought if buyer.currency), None),
    )


def _add_up(amounts: list[Decimal]) -> Decimal | None:
    total = sum(amounts, Decimal(0))
    return total if abs(total) < LARGEST_TOTAL else None  # a thousand buyers at a billion each: nothing to believe


def _derive_sold(facts: Facts, state: State, somebody_bought: bool) -> bool | None:
    if somebody_bought or any(delivery.sold for delivery in facts.deliveries or ()):
        return True
    if state is State.REJECTED or (state in FINAL and facts.buyers is not None):
        return False
    return facts.sold


def _merge_named(known: Named | None, told: Named) -> Named:
    if known is None or (told.id is not None and known.id not in {None, told.id}):
        return told  # another campaign altogether: its name must not be the old one's
    return Named(id=told.id or known.id, name=told.name or known.name)


def _merge_rows(known: tuple[Row, ...] | None, told: tuple[Row, ...]) -> tuple[Row, ...]:
    # Rows that the newest block leaves out stay: the key may show only buyers that bought ("Include Buyer Statuses").
    rows = {row.key: row for row in known or ()}
    for row in told:
        rows[row.key] = _merge_row(rows[row.key], row) if row.key in rows else row
    return tuple(rows.values())


def _merge_row(known: Row, told: Row) -> Row:
    news = {f.name: value for f in fields(told) if (value := getattr(told, f.name)) is not None}
    return replace(known, **news)
