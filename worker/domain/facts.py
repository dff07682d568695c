"""What is known of a lead beside its state: acceptance, sale, buyers, deliveries, money; and how news joins it.

Three things are kept apart: *absent* (None: not told), *empty* (an empty tuple: told that there is none) and
*present*. An absent fact never erases a known one: a key may simply not append the block (LeadByte, "API Queue").
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from worker.domain.lifecycle import FINAL, State
from worker.domain.recognition import recognise_rows

LARGEST_TOTAL = Decimal(10) ** 12  # numeric(18, 6) in Postgres
MOST_KEPT = 500  # buyers or deliveries of one lead over all its replies; more are no answer about one lead
SOLD = "Sold"
_NOTHING = Decimal(0)
NO_SALE = frozenset({"unsold", "returned", "skipped"})  # beside Sold, words seen in LeadByte's pages


# msgspec's structs rather than dataclasses: such values are made thousands of times a second, and these cost a tenth.
# None can be part of a cycle, so the collector need not look at them (`gc=False`).
class Named(Struct, frozen=True, gc=False):
    """A campaign or supplier: id, name, or only one of them."""

    id: str | None = None
    name: str | None = None


def _is_sold(status: str | None) -> bool:
    return status is not None and status.casefold() == "sold"


def _is_no_sale(status: str | None) -> bool:
    return status is not None and status.casefold() in NO_SALE


class Buyer(Struct, frozen=True, gc=False):
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
        return _is_sold(self.status)

    @property
    def declined(self) -> bool:
        """Whether this buyer does not hold the lead; a word we do not know says neither."""
        return _is_no_sale(self.status)

    def list_identities(self) -> tuple[Hashable, ...]:
        """What may tell that two rows are one buyer, surest first; None where it is not told."""
        name = self.name and self.name.casefold()
        return (self.id, self.bid, name and (name, self.status and self.status.casefold(), self.revenue), name)

    def put_under(self, key: str) -> Buyer:
        """The same row under another key."""
        return self if key == self.key else replace(self, key=key)

    def contradicts(self, other: Buyer) -> bool:
        """Whether the other row can't be the same buyer."""
        if self.id is not None and other.id is not None:
            return self.id != other.id
        return self.bid is not None and other.bid is not None and self.bid != other.bid


class Delivery(Struct, frozen=True, gc=False):
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
        return _is_sold(self.status)

    @property
    def declined(self) -> bool:
        """Whether this delivery did not sell the lead; a word we do not know says neither."""
        return _is_no_sale(self.status)

    def list_identities(self) -> tuple[Hashable, ...]:
        """What may tell that two rows are one delivery, surest first; None where it is not told."""
        name = self.name and self.name.casefold()
        return (self.id, name and self.buyer_id and (name, self.buyer_id), name)

    def put_under(self, key: str) -> Delivery:
        """The same row under another key."""
        return self if key == self.key else replace(self, key=key)

    def contradicts(self, other: Delivery) -> bool:
        """Whether the other row can't be the same delivery."""
        if self.id is not None and other.id is not None:
            return self.id != other.id
        return self.buyer_id is not None and other.buyer_id is not None and self.buyer_id != other.buyer_id


class Facts(Struct, frozen=True, gc=False):
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
    fields_present: tuple[str, ...] | None = None  # folded names of the filled lead-data fields, never a value


NOTHING_TOLD = Facts()
Row = TypeVar("Row", Buyer, Delivery)


def merge_facts(known: Facts, told: Facts) -> Facts:
    """What is known after `told`: news replaces, silence keeps, buyers and deliveries join the rows they are."""
    return join_facts(known, recognise_facts(known, told))


def recognise_facts(known: Facts, told: Facts) -> Facts:
    """`told`, each buyer and delivery under the key that it is known by."""
    if known is NOTHING_TOLD or (not (known.buyers and told.buyers) and not (known.deliveries and told.deliveries)):
        return told
    return replace(
        told,
        buyers=told.buyers and recognise_rows(known.buyers or (), told.buyers),
        deliveries=told.deliveries and recognise_rows(known.deliveries or (), told.deliveries),
    )


def join_facts(known: Facts, told: Facts) -> Facts:
    """As `merge_facts`, of rows that were recognised already."""
    if known is NOTHING_TOLD:
        return told
    news = {name: value for name in Facts.__struct_fields__ if (value := getattr(told, name)) is not None}
    if told.campaign is not None:
        news["campaign"] = _merge_named(known.campaign, told.campaign)
    if told.supplier is not None:
        news["supplier"] = _merge_named(known.supplier, told.supplier)
    if told.buyers is not None:
        news["buyers"] = _merge_rows(known.buyers, told.buyers)
    if told.deliveries is not None:
        news["deliveries"] = _merge_rows(known.deliveries, told.deliveries)
    joined = replace(known, **news)
    if told.revenue is None and _took_back_a_sale(known, joined):
        # The sum that was known has the returned buyer's money in it: what the others owe has to be told anew.
        return replace(joined, revenue=None)
    return joined


def _took_back_a_sale(known: Facts, now: Facts) -> bool:
    bought = {buyer.key for buyer in known.buyers or () if buyer.bought}
    return bool(bought) and any(buyer.key in bought and buyer.declined for buyer in now.buyers or ())


def derive_facts(facts: Facts, state: State) -> Facts:
    """Fill in what follows from the parts.

    A sale is one buyer's or one delivery's "Sold"; "not sold" is said once the verdict is final, since a block may show
    the unsold first, or once a sale was taken back. Revenue is the sum over the buyers that bought: nothing where they
    are told and none did; what LeadByte says itself where no buyer, or no buyer's amount, is told.
    """
    bought = [buyer for buyer in facts.buyers or () if buyer.bought]
    if not bought:
        sold = _derive_sold(facts, state)
        revenue = _NOTHING if facts.buyers and sold is False else facts.revenue
        return facts if (sold, revenue) == (facts.sold, facts.revenue) else replace(facts, sold=sold, revenue=revenue)
    currencies = {buyer.currency for buyer in bought if buyer.currency}
    # Pounds and dollars have no sum.
    revenue = _add_up(bought, facts.revenue) if len(currencies) <= 1 else facts.revenue
    currency = facts.currency or (currencies.pop() if len(currencies) == 1 else None)
    return replace(facts, sold=True, revenue=revenue, currency=currency)


def _add_up(bought: list[Buyer], known: Decimal | None) -> Decimal | None:
    amounts = [buyer.revenue for buyer in bought if buyer.revenue is not None]
    if not amounts:
        return known
    total = sum(amounts, _NOTHING)
    return total if abs(total) < LARGEST_TOTAL else known  # a thousand buyers at a billion each: nothing to believe


def _derive_sold(facts: Facts, state: State) -> bool | None:
    """Where no buyer says that it bought."""
    buyers, deliveries = facts.buyers or (), facts.deliveries or ()
    if sales := [delivery for delivery in deliveries if delivery.sold]:
        # The buyer's own word outweighs that of the delivery to it.
        declined = {id_ for buyer in buyers if buyer.declined for id_ in (buyer.id, buyer.bid) if id_ is not None}
        if any(delivery.buyer_id not in declined for delivery in sales):
            return True
    if state is State.REJECTED:
        return False
    is_decided = state in FINAL and facts.buyers is not None and all(buyer.declined for buyer in buyers)
    was_taken_back = facts.sold is True and bool(buyers or deliveries)
    return False if is_decided or was_taken_back else facts.sold


def _merge_named(known: Named | None, told: Named) -> Named:
    if known is None or (told.id is not None and known.id not in {None, told.id}):
        return told  # another campaign altogether: its name must not be the old one's
    return Named(id=told.id or known.id, name=told.name or known.name)


def _merge_rows(known: tuple[Row, ...] | None, told: tuple[Row, ...]) -> tuple[Row, ...]:
    # Rows that the newest block leaves out stay: the key may show only buyers that bought ("Include Buyer Statuses").
    rows = {row.key: row for row in known or ()}
    for row in told:
        if row.key in rows:
            rows[row.key] = _merge_row(rows[row.key], row)
        elif len(rows) < MOST_KEPT:
            rows[row.key] = row
    return tuple(rows.values())


def _merge_row(known: Row, told: Row) -> Row:
    news = {name: value for name in told.__struct_fields__ if (value := getattr(told, name)) is not None}
    return replace(known, **news)
