"""Buyers, deliveries, campaign and supplier, wherever and however LeadByte puts them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from worker.domain.blocks import read_facts
from worker.domain.facts import Buyer, Delivery, Facts, Named
from worker.domain.rows import LONGEST_KEY, MOST_ROWS
from worker.domain.values import JSON, fold_keys

PLACES = ("record", "response", "root")
SOLD: dict[str, JSON] = {"id": 3, "name": "Sun Ltd", "status": "Sold", "revenue": "12.50"}
BUYER = Buyer("3", id="3", name="Sun Ltd", status="Sold", revenue=Decimal("12.50"))


def read(**blocks: Mapping[str, JSON]) -> Facts:
    """Facts of blocks by place: record, response, root."""
    return read_facts([fold_keys(dict(blocks.get(place, {}))) for place in PLACES])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["buyers", "buyer", "Buyers"])
@pytest.mark.parametrize("shape", [SOLD, [SOLD], {"3": {**SOLD, "id": None}}, {"7": SOLD}, [[SOLD]], [SOLD, SOLD]])
def test_a_buyer_is_read_from_each_place_in_each_shape(place: str, name: str, shape: JSON) -> None:
    assert read(**{place: {name: shape}}).buyers == (BUYER,)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["deliveries", "delivery"])
@pytest.mark.parametrize(
    "row",
    [
        {"id": 9, "name": "Sun API", "status": "Skipped", "reason": "Rule mismatch", "buyerId": 3, "revenue": 0},
        {
            "deliveryId": "9",
            "reference": "Sun API",
            "result": "Skipped",
            "message": "Rule mismatch",
            "bid": 3,
            "price": 0,
        },
        {
            "id": 9,
            "name": "Sun API",
            "status": "Skipped",
            "response": "Rule mismatch",
            "buyer": {"id": 3},
            "revenue": 0,
        },
    ],
)
def test_a_delivery_is_read_from_each_place_under_each_name(place: str, name: str, row: JSON) -> None:
    expected = Delivery("9", "9", "Sun API", "3", "Skipped", "Rule mismatch", Decimal(0))
    assert read(**{place: {name: [row]}}).deliveries == (expected,)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("block", ["campaign", "supplier"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"": {"id": 565, "name": "Solar"}}, Named("565", "Solar")),
        ({"": [{"id": "565", "name": "Solar"}]}, Named("565", "Solar")),
        ({"": {"reference": "SOL"}}, Named("SOL", None)),
        ({"": {"id": "", "reference": "SOL", "name": "-"}}, Named("SOL", None)),
        ({"": {"_id": 565, "reference": "SOL", "title": "Solar"}}, Named("565", "Solar")),
        ({"": {"id": 565, "company": "Solar"}}, Named("565", "Solar")),
        ({"": "Solar"}, Named(None, "Solar")),
        ({"": {"565": "Solar"}}, Named("565", "Solar")),
        ({"": "Solar", "Id": 565}, Named("565", "Solar")),
        ({"Name": "Solar", "_id": "565"}, Named("565", "Solar")),
        ({"": {"x": 1}, "Name": "Solar"}, Named(None, "Solar")),
        ({"": []}, None),
        ({"": {}}, None),
        ({"": None}, None),
        ({"": "null"}, None),
    ],
)
def test_a_campaign_or_supplier_is_read_in_each_shape(
    place: str, block: str, given: dict[str, JSON], expected: Named | None
) -> None:
    facts = read(**{place: {block + suffix: value for suffix, value in given.items()}})
    assert getattr(facts, block) == expected


def test_a_supplier_is_known_by_its_sid() -> None:
    assert read(record={"sid": "S1"}).supplier == Named("S1")
    assert read(response={"supplier": {"sid": 4, "name": "Clicks"}}).supplier == Named("4", "Clicks")


@pytest.mark.parametrize("block", [None, "", "-", "null", "{buyers}", False, True])
def test_a_block_that_is_a_marker_of_nothing_is_absent(block: JSON) -> None:
    assert read(response={"buyers": block, "deliveries": block}) == Facts()


@pytest.mark.parametrize("block", [[], {}, [None], [""], [[]]])
def test_a_block_without_rows_is_empty_and_not_absent(block: JSON) -> None:
    facts = read(response={"buyers": block, "deliveries": block})
    assert (facts.buyers, facts.deliveries) == ((), ())


@pytest.mark.parametrize("empty", [[], {}, "", None])
def test_an_empty_block_hides_no_other_one(empty: JSON) -> None:
    assert read(record={"buyers": empty}, root={"buyers": [SOLD]}).buyers == (BUYER,)
    assert read(record={"buyers": empty, "buyer": SOLD}).buyers == (BUYER,)


def test_the_nearest_block_with_rows_wins() -> None:
    other = {**SOLD, "id": 4}
    facts = read(record={"buyers": [SOLD]}, response={"buyers": [other]}, root={"buyers": [other]})
    assert facts.buyers == (BUYER,)


def test_an_empty_marker_hides_no_value_behind_it() -> None:
    facts = read(
        record={"leadId": "", "processed": "0000-00-00 00:00:00", "payout": "-", "code": "N/A", "currency": None},
        response={"leadId": 7, "timestamp": "2022-11-17T16:03:04Z", "payout": "Pending", "code": "1"},
        root={"currency": "gbp"},
    )
    assert (facts.lead_id, facts.payout_pending, facts.result_code, facts.currency) == ("7", True, 1, "GBP")
    assert facts.processed_at is not None
    assert facts.processed_raw == "0000-00-00 00:00:00"


@pytest.mark.parametrize("marker", ["", "-", "null", "{payout}", None])
def test_a_payout_that_is_not_told_is_neither_pending_nor_not(marker: JSON) -> None:
    facts = read(response={"payout": marker})
    assert (facts.payout, facts.payout_pending) == (None, None)


def test_codes_and_lead_ids_at_the_root_are_not_the_leads() -> None:
    root: dict[str, JSON] = {"code": 1, "leadId": 9, "rejectionId": 9, "processed": "2022-11-17", "message": "OK"}
    assert read(root=root) == Facts()


def test_several_buyers_keep_their_order_and_names() -> None:
    rows: JSON = [SOLD, {"bid": "B7", "company": "Moon", "status": "Unsold", "price": "N/A", "currency": "usd"}, "Star"]
    buyers = read(response={"buyers": rows}).buyers
    assert buyers == (
        BUYER,
        Buyer("B7", bid="B7", name="Moon", status="Unsold", currency="USD"),
        Buyer("Star", name="Star"),
    )


def test_different_rows_under_one_key_are_all_kept() -> None:
    rows: list[Any] = [{"status": "Sold"}, {"status": "Unsold"}, {"status": "Sold"}, {"name": "?"}, {"name": "?#2"}]
    buyers = read(response={"buyers": rows}).buyers
    assert buyers is not None
    assert [buyer.key for buyer in buyers] == ["?", "?#2", "?#3", "?#2#2"]


def test_no_key_grows_beyond_what_an_index_takes() -> None:
    rows: JSON = [{"name": "\U0001f600" * 500, "bid": "y" * 500, "status": status} for status in ("Sold", "Unsold")]
    deliveries = read(response={"deliveries": rows}).deliveries
    assert deliveries is not None
    assert [len(row.key) for row in deliveries] == [LONGEST_KEY, LONGEST_KEY + 2]


def test_an_endless_list_is_read_to_its_bound() -> None:
    rows: list[JSON] = [{"id": number} for number in range(1, 10 * MOST_ROWS)]
    buyers = read(record={"buyers": rows}).buyers
    assert buyers is not None
    assert len(buyers) == MOST_ROWS


def test_a_row_of_unknown_fields_is_kept_as_somebody_unknown() -> None:
    assert read(record={"buyers": [{"colour": "red"}]}).buyers == (Buyer("?"),)
    assert read(record={"deliveries": [{"colour": "red"}]}).deliveries == (Delivery("?/?"),)
