"""What is known, and how news joins it: nothing that was told is ever lost to silence."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from worker.domain.facts import LARGEST_TOTAL, MOST_KEPT, Buyer, Delivery, Facts, Named, Row, derive_facts, merge_facts
from worker.domain.lifecycle import FINAL, OPEN, State

words = st.none() | st.sampled_from(["a", "b", "Sold", "Unsold"])
flags = st.none() | st.booleans()
amounts = st.none() | st.decimals(-100, 100, places=2)
named = st.none() | st.builds(Named, words, words).filter(lambda value: value != Named())
buyers = st.builds(Buyer, st.just(""), words, words, words, words, amounts, words).map(
    lambda row: replace(row, key=row.id or row.bid or row.name or "?")
)
deliveries = st.builds(Delivery, st.just(""), words, words, words, words, words, amounts).map(
    lambda row: replace(row, key=row.id or f"{row.name or '?'}/{row.buyer_id or '?'}")
)


def rows_of(row: st.SearchStrategy[Row]) -> st.SearchStrategy[tuple[Row, ...] | None]:
    return st.none() | st.lists(row, max_size=3, unique_by=lambda value: value.key).map(tuple)


all_facts = st.builds(
    Facts,
    flags, st.none() | st.integers(-100, 1), words, words, words, named, named, flags, rows_of(buyers),
    rows_of(deliveries), amounts, amounts, flags, words, words,
    st.none() | st.datetimes(timezones=st.just(UTC)), words, st.none() | st.just(("email",)),
)  # fmt: skip


@given(all_facts)
def test_silence_changes_nothing(known: Facts) -> None:
    assert merge_facts(known, Facts()) == known


@given(all_facts)
def test_the_first_news_is_taken_as_it_is(told: Facts) -> None:
    assert merge_facts(Facts(), told) == told


@given(all_facts, all_facts)
def test_being_told_twice_is_being_told_once(known: Facts, told: Facts) -> None:
    once = merge_facts(known, told)
    assert merge_facts(once, told) == once


@given(all_facts, all_facts)
def test_what_is_absent_never_erases(known: Facts, told: Facts) -> None:
    merged = merge_facts(known, told)
    for name in Facts.__struct_fields__:
        if getattr(known, name) is not None and name != "revenue":  # a sum can turn out wrong, see below
            assert getattr(merged, name) is not None
        if getattr(told, name) is None and name != "revenue":
            assert getattr(merged, name) == getattr(known, name)


@given(all_facts, all_facts)
def test_no_row_is_lost_and_none_is_doubled(known: Facts, told: Facts) -> None:
    merged = merge_facts(known, told)
    for name in ("buyers", "deliveries"):
        of = [{row.key for row in getattr(facts, name) or ()} for facts in (known, told, merged)]
        assert of[0] <= of[2]
        assert max(len(of[0]), len(of[1])) <= len(of[2]) <= len(of[0]) + len(of[1])
        assert len(of[2]) == len(getattr(merged, name) or ())


@given(all_facts, st.sampled_from(State))
def test_deriving_twice_is_deriving_once(facts: Facts, state: State) -> None:
    once = derive_facts(facts, state)
    assert derive_facts(once, state) == once


def test_a_known_revenue_is_never_overwritten_with_nothing() -> None:
    known = Facts(buyers=(Buyer("3", status="Sold", revenue=Decimal(5), currency="GBP"),))
    told = Facts(buyers=(Buyer("3", status="Sold"),))
    merged = derive_facts(merge_facts(known, told), State.APPROVED)
    assert (merged.revenue, merged.sold, merged.currency) == (Decimal(5), True, "GBP")


def test_revenue_is_the_sum_over_the_buyers_that_bought() -> None:
    rows = (
        Buyer("1", status="Sold", revenue=Decimal("5.50")),
        Buyer("2", status="SOLD", revenue=Decimal("2.25")),
        Buyer("3", status="Unsold", revenue=Decimal(100)),
        Buyer("4", status="Sold"),
    )
    assert derive_facts(Facts(buyers=rows), State.APPROVED).revenue == Decimal("7.75")
    assert derive_facts(Facts(buyers=rows[2:], revenue=Decimal(9)), State.APPROVED).revenue == Decimal(9)


SOLD_FOR_TEN = (Buyer("1", "1", status="Sold", revenue=Decimal(10)),)
TAKEN_BACK = [
    # what the sale was taken back with, the state the lead is in then
    (Facts(buyers=(Buyer("1", "1", status="Returned"),)), State.RETURNED),
    (Facts(buyers=(Buyer("1", "1", status="Returned", revenue=Decimal(10)),), revenue=Decimal(10)), State.RETURNED),
    (Facts(buyers=(Buyer("1", "1", status="Unsold"),)), State.PENDING),
    (Facts(buyers=(Buyer("1", "1", status="Unsold"),)), State.REJECTED),
    (Facts(buyers=(Buyer("1", "1", status="Returned"), Buyer("2", "2", status="Unsold"))), State.APPROVED),
]


@pytest.mark.parametrize(("told", "state"), TAKEN_BACK)
@pytest.mark.parametrize("deliveries", [None, (Delivery("7", "7", buyer_id="1", status="Sold"),)])
def test_a_sale_that_was_taken_back_is_no_sale_and_brings_no_money(
    told: Facts, state: State, deliveries: tuple[Delivery, ...] | None
) -> None:
    known = derive_facts(Facts(buyers=SOLD_FOR_TEN, deliveries=deliveries), State.PENDING)
    assert (known.sold, known.revenue) == (True, Decimal(10))
    now = derive_facts(merge_facts(known, told), state)
    assert (now.sold, now.revenue) == (False, Decimal(0))
    assert derive_facts(merge_facts(now, told), state) == now


def test_one_of_two_sales_taken_back_leaves_the_other() -> None:
    known = derive_facts(Facts(buyers=(*SOLD_FOR_TEN, Buyer("2", status="Sold", revenue=Decimal(3)))), State.APPROVED)
    now = derive_facts(merge_facts(known, Facts(buyers=(Buyer("1", status="Returned"),))), State.APPROVED)
    assert (known.revenue, now.revenue, now.sold) == (Decimal(13), Decimal(3), True)


@pytest.mark.parametrize("buyers", [None, (), (Buyer("1"),), (Buyer("1", status="Some new word"),)])
def test_revenue_that_leadbyte_told_stands_where_no_buyer_declined(buyers: tuple[Buyer, ...] | None) -> None:
    assert derive_facts(Facts(revenue=Decimal(9), buyers=buyers), State.APPROVED).revenue == Decimal(9)


def test_a_sum_too_large_for_its_column_is_not_told() -> None:
    rows = tuple(Buyer(str(n), status="Sold", revenue=LARGEST_TOTAL / 1000) for n in range(1000))
    assert derive_facts(Facts(buyers=rows), State.APPROVED).revenue is None
    assert derive_facts(Facts(buyers=rows, revenue=Decimal(9)), State.APPROVED).revenue == Decimal(9)
    assert derive_facts(Facts(buyers=rows[1:]), State.APPROVED).revenue == LARGEST_TOTAL * 999 / 1000


SALES = [
    # what was told, states in which that is so, whether it was sold
    (Facts(buyers=(Buyer("1", status="Sold"),)), tuple(State), True),
    (Facts(deliveries=(Delivery("1", status="sold"),)), tuple(State), True),
    (Facts(buyers=(Buyer("1", status="Unsold"),)), tuple(FINAL), False),
    (Facts(buyers=(Buyer("1", status="Unsold"),)), tuple(OPEN), None),
    (Facts(buyers=(Buyer("1"),)), (State.APPROVED, State.RETURNED), None),
    (Facts(buyers=(Buyer("1", status="Some new word"),)), (State.APPROVED, State.RETURNED), None),
    (Facts(buyers=()), (State.APPROVED, State.RETURNED), False),
    (Facts(buyers=()), tuple(OPEN), None),
    (Facts(deliveries=(Delivery("1", status="Unsold"),)), (State.APPROVED,), None),
    (Facts(), (State.REJECTED,), False),
    (Facts(), (State.APPROVED, State.RETURNED, State.ABANDONED, *OPEN), None),
    (Facts(sold=True), (State.APPROVED,), True),
]


@pytest.mark.parametrize(("facts", "states", "sold"), SALES)
def test_a_sale_is_told_and_no_sale_is_said_only_at_the_end(
    facts: Facts, states: tuple[State, ...], sold: bool | None
) -> None:
    assert {derive_facts(facts, state).sold for state in states} == {sold}


def test_a_buyer_that_is_left_out_later_stays() -> None:
    known = Facts(buyers=(Buyer("1", status="Unsold"), Buyer("2", status="Sold")))
    told = Facts(buyers=(Buyer("2", status="Returned"),))
    assert merge_facts(known, told).buyers == (Buyer("1", status="Unsold"), Buyer("2", status="Returned"))
    assert merge_facts(known, Facts(buyers=())) == known


def test_a_lead_grows_to_a_bound_and_what_is_known_goes_on_being_told() -> None:
    known = Facts(buyers=tuple(Buyer(str(number)) for number in range(MOST_KEPT)))
    told = (Buyer("stranger", status="Sold"), Buyer("7", status="Unsold"))
    merged = merge_facts(known, Facts(buyers=told)).buyers or ()
    assert len(merged) == MOST_KEPT
    assert merged[7] == Buyer("7", status="Unsold")


def test_another_campaign_brings_its_own_name() -> None:
    known = Facts(campaign=Named("1", "Solar"), supplier=Named(None, "Clicks"))
    told = Facts(campaign=Named("2"), supplier=Named("9"))
    assert merge_facts(known, told) == Facts(campaign=Named("2"), supplier=Named("9", "Clicks"))
    assert merge_facts(known, Facts(campaign=Named("1"))).campaign == Named("1", "Solar")


def test_moments_and_flags_are_replaced_by_news() -> None:
    known = Facts(payout_pending=True, processed_at=datetime(2022, 1, 1, tzinfo=UTC))
    told = replace(known, payout_pending=False, payout=Decimal(0))
    assert merge_facts(known, told) == told


def test_money_of_a_returned_buyer_is_in_no_sum() -> None:
    known = derive_facts(Facts(buyers=SOLD_FOR_TEN), State.APPROVED)
    told = Facts(buyers=(Buyer("1", "1", status="Returned"), Buyer("2", "2", status="Sold")))
    now = derive_facts(merge_facts(known, told), State.APPROVED)
    assert (known.revenue, now.revenue, now.sold) == (Decimal(10), None, True)
    assert derive_facts(merge_facts(now, told), State.APPROVED) == now
    assert derive_facts(merge_facts(known, replace(told, revenue=Decimal(7))), State.APPROVED).revenue == Decimal(7)
