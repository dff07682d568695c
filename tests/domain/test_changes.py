"""What changed after the verdict, in words that hold nothing of the lead's own data."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from worker.domain.changes import MOST_SAID, describe_changes
from worker.domain.facts import Buyer, Delivery, Facts, Named

SOLD = Buyer("4", id="4", name="Marlow", status="Sold", revenue=Decimal("12.00"))
KNOWN = Facts(campaign_accepted=True, sold=True, buyers=(SOLD,), revenue=Decimal(12), currency="GBP")


@pytest.mark.parametrize(
    ("news", "said"),
    [
        ({}, ""),
        ({"campaign": Named("5"), "quarantine_id": "7", "result_reason": "x", "lead_id": "8"}, ""),
        ({"revenue": Decimal("12.000000")}, ""),
        ({"buyers": (replace(SOLD, status="SOLD"),)}, ""),
        ({"revenue": Decimal("0.5")}, "revenue 12.00 → 0.50 (GBP)"),
        ({"payout": Decimal("0.125")}, "payout not told → 0.125 (GBP)"),
        ({"sold": False, "revenue": Decimal(0)}, "revenue 12.00 → 0.00 (GBP), sold yes → no"),
        ({"campaign_accepted": False}, "campaign accepted yes → no"),
        ({"buyers": (replace(SOLD, status="Returned"),)}, "buyer Marlow: Sold → Returned"),
        (
            {"buyers": (replace(SOLD, status="Returned", revenue=Decimal(0)),)},
            "buyer Marlow: Sold → Returned; 12.00 → 0.00",
        ),
        ({"buyers": (SOLD, Buyer("1", status="Unsold"))}, "buyer 1: not told → Unsold"),
        ({"deliveries": (Delivery("d7", status="Sold"),)}, "delivery d7: not told → Sold"),
    ],
)
def test_a_change_is_said_in_numbers_and_buyers_words(news: dict[str, object], said: str) -> None:
    assert describe_changes(KNOWN, replace(KNOWN, **news)) == said


def test_the_order_in_which_buyers_are_kept_does_not_matter() -> None:
    other = Buyer("1", status="Unsold")
    changed = (replace(SOLD, status="Returned"), replace(other, status="Sold"))
    here = describe_changes(replace(KNOWN, buyers=(SOLD, other)), replace(KNOWN, buyers=changed))
    there = describe_changes(replace(KNOWN, buyers=(other, SOLD)), replace(KNOWN, buyers=changed[::-1]))
    assert here == there == "buyer 1: Unsold → Sold, buyer Marlow: Sold → Returned"


def test_many_or_long_changes_are_cut_short() -> None:
    many = tuple(Buyer(str(n), name="n" * 500, status="Sold") for n in range(100))
    said = describe_changes(Facts(), Facts(buyers=many))
    assert said.endswith(f"and {100 - MOST_SAID} more")
    assert len(said) < 1_000
