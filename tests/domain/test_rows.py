"""Buyers and deliveries in the shapes that nobody documented: wrapped, nested, mapped, told by flags."""

from __future__ import annotations

from decimal import Decimal

import pytest

from worker.domain.facts import Buyer, Delivery, Facts, derive_facts
from worker.domain.lifecycle import State
from worker.domain.rows import read_buyers, read_deliveries
from worker.domain.values import JSON

ROW: dict[str, JSON] = {"id": 12, "name": "Acme", "status": "Sold", "revenue": "12.50"}
ACME = Buyer("12", "12", None, "Acme", "Sold", Decimal("12.50"))


@pytest.mark.parametrize(
    "block",
    [
        {"buyer": [ROW]},
        {"buyer": ROW},
        {"buyers": [ROW], "count": 1},
        {"items": [ROW]},
        {"list": [ROW]},
        {"data": {"items": [ROW]}, "total": 1},
        {"12": {**ROW, "id": ""}},
        {"0": ROW},
        [{"buyer": {"id": 12, "name": "Acme"}, "status": "Sold", "revenue": "12.50"}],
        [{"id": 990, "buyer": {"id": 12, "name": "Acme"}, "status": "Sold", "revenue": "12.50"}],
        [{"buyer": {"id": 12, "name": "Acme", "status": "Sold"}, "price": 12.5}],
        [{"buyer": "Acme", "buyerId": 12, "result": "Sold", "revenue": "12.50"}],
        [{"buyer": 12, "name": "Acme", "status": "Sold", "revenue": "12.50"}],
        [{"buyerId": 12, "buyerName": "Acme", "status": "Sold", "amount": "12.50"}],
        [{"id": 12.0, "company": "Acme", "sold": True, "revenue": "12.500000000000001"}],
        [{"id": "12", "company": "Acme", "sold": "Yes", "revenue": {"amount": "12.50"}}],
        [{"id": "12", "company": "Acme", "isSold": "1", "revenue": 12.5}],
    ],
    ids=repr,
)
def test_a_buyer_is_read_in_every_shape(block: JSON) -> None:
    assert read_buyers([{"buyers": block}]) == (ACME,)


@pytest.mark.parametrize(
    ("row", "status"),
    [
        ({"sold": False}, "Unsold"),
        ({"sold": "No"}, "Unsold"),
        ({"sold": 0}, "Unsold"),
        ({"sold": "perhaps"}, None),
        ({"sold": "Sold"}, "Sold"),
        ({"sold": "unsold"}, "unsold"),
        ({"sold": "on"}, "Sold"),
        ({"sold": None}, None),
        ({"sold": True, "returned": "1"}, "Returned"),
        ({"status": "Sold", "returned": True}, "Returned"),
        ({"status": "Sold", "returned": "No"}, "Sold"),
        ({"status": "Unsold", "sold": True}, "Unsold"),
        ({"status": "Accepted", "revenue": "5"}, "Accepted"),
    ],
    ids=repr,
)
def test_a_flag_says_what_no_word_says(row: dict[str, JSON], status: str | None) -> None:
    (buyer,) = read_buyers([{"buyers": [{"id": 1, **row}]}]) or ()
    assert buyer.status == status


def test_accepted_is_not_known_to_be_a_sale() -> None:
    buyers = read_buyers([{"buyers": [{"id": 1, "status": "Accepted", "revenue": "5"}]}])
    facts = derive_facts(Facts(buyers=buyers), State.APPROVED)
    assert (facts.sold, facts.revenue) == (None, None)


@pytest.mark.parametrize("block", [{"buyer": []}, {"items": []}, {"buyers": {}}, {"list": [None]}])
def test_an_empty_wrapper_says_that_there_is_none(block: JSON) -> None:
    assert read_buyers([{"buyers": block}]) == ()


def test_a_map_of_bare_words_is_a_map_by_id() -> None:
    buyers = read_buyers([{"buyers": {"12": "Sold", "13": "Unsold"}}])
    assert buyers == (Buyer("12", "12", status="Sold"), Buyer("13", "13", status="Unsold"))


def test_a_map_of_bare_sums_is_a_map_by_id() -> None:
    assert read_buyers([{"buyers": {"12": "12.50", "13": 9}}]) == (
        Buyer("12", "12", revenue=Decimal("12.50")),
        Buyer("13", "13", revenue=Decimal(9)),
    )


def test_bare_numbers_are_ids() -> None:
    assert read_buyers([{"buyers": [12, "13", "Acme"]}]) == (
        Buyer("12", "12"),
        Buyer("13", "13"),
        Buyer("Acme", name="Acme"),
    )


def test_pounds_and_dollars_have_no_sum() -> None:
    rows: JSON = [{**ROW, "currency": "GBP"}, {**ROW, "id": 13, "currency": "USD"}]
    facts = derive_facts(Facts(buyers=read_buyers([{"buyers": rows}])), State.APPROVED)
    assert (facts.sold, facts.revenue, facts.currency) == (True, None, None)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"reason": ["Rule mismatch", "Cap"]}, "Rule mismatch; Cap"),
        ({"response": {"code": 400, "message": "No"}}, "No"),
        ({"reason": "", "message": "Cap"}, "Cap"),
    ],
)
def test_the_reason_of_a_delivery_is_read_in_every_shape(given: dict[str, JSON], reason: str) -> None:
    (delivery,) = read_deliveries([{"deliveries": [{"id": 9, **given}]}]) or ()
    assert delivery.reason == reason


def test_a_map_of_bare_words_may_be_by_name_where_the_words_can_mean_nothing_else() -> None:
    buyers = read_buyers([{"buyers": {"Acme Ltd": "Sold", "Marlow": "unsold"}}])
    assert buyers == (
        Buyer("Acme Ltd", name="Acme Ltd", status="Sold"),
        Buyer("Marlow", name="Marlow", status="unsold"),
    )
    assert read_buyers([{"buyers": {"company": "Sold", "contact": "Sold"}}]) == (Buyer("Sold", name="Sold"),)


@pytest.mark.parametrize("kind", ["buyer", "delivery"])
@pytest.mark.parametrize("status", ["Sold", ["Sold"], {"name": "Sold"}])
@pytest.mark.parametrize("name", ["status", "{}Status"])
def test_a_status_is_read_however_it_is_wrapped_and_named(kind: str, status: JSON, name: str) -> None:
    row: dict[str, JSON] = {f"{kind}Id": 4, name.format(kind): status}
    rows = read_buyers([{kind: row}]) if kind == "buyer" else read_deliveries([{kind: row}])
    assert [(row.id, row.status) for row in rows or ()] == [("4", "Sold")]


def test_of_sums_without_a_name_none_is_taken_for_another() -> None:
    row: dict[str, JSON] = {"status": "Sold", "revenue": "5"}
    keys = [buyer.key for buyer in read_buyers([{"buyers": [row, row]}]) or ()]
    assert keys == ["?", "?#2"]
    assert len(read_buyers([{"buyers": [{**row, "id": 4}, {**row, "id": 4}]}]) or ()) == 1


def test_the_positions_of_a_list_that_php_wrote_as_an_object_are_no_ids() -> None:
    buyers = read_buyers([{"buyers": {"0": {"name": "A"}, "2": {"name": "B"}}}])
    assert buyers == (Buyer("A", name="A"), Buyer("B", name="B"))


def test_a_map_by_name_is_no_map_by_id() -> None:
    assert read_buyers([{"buyers": {"Acme Ltd": {"status": "Sold"}}}]) == (
        Buyer("Acme Ltd", name="Acme Ltd", status="Sold"),
    )


@pytest.mark.parametrize(
    ("money", "currency"),
    [("£12.50", "GBP"), ("12.50 EUR", "EUR"), ({"amount": 12.5, "currency": "usd"}, "USD"), ("$12.50", None)],
)
def test_an_amount_may_carry_its_currency(money: JSON, currency: str | None) -> None:
    (buyer,) = read_buyers([{"buyers": [{"id": 1, "revenue": money}]}]) or ()
    assert (buyer.revenue, buyer.currency) == (Decimal("12.50"), currency)


@pytest.mark.parametrize(
    "block",
    [
        {"delivery": [{"id": 9, "name": "API", "buyerId": 12, "status": "Sold"}]},
        {"9": {"name": "API", "buyer": {"id": 12, "name": "Acme"}, "status": "Sold"}},
        [{"delivery": {"id": 9, "name": "API"}, "buyer": 12, "status": "Sold"}],
        [{"deliveryId": "9", "deliveryName": "API", "buyerId": "12", "sold": "Yes"}],
    ],
    ids=repr,
)
def test_a_delivery_is_read_in_every_shape(block: JSON) -> None:
    assert read_deliveries([{"deliveries": block}]) == (Delivery("9", "9", "API", "12", "Sold"),)
