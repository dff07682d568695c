"""The same buyer told twice, by name and by id, is one buyer; whatever can't be told apart for sure stays apart."""

from __future__ import annotations

import random
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.facts import Buyer, Delivery, Facts, derive_facts, merge_facts
from worker.domain.lifecycle import State
from worker.domain.recognition import recognise_rows

BY_NAME = Buyer("Acme", name="Acme", status="Sold", revenue=Decimal(10))
BY_ID = Buyer("12", "12", name="acme", status="Sold", revenue=Decimal(10))
OTHER = Buyer("13", "13", name="Acme", status="Unsold")


@pytest.mark.parametrize(
    ("known", "told", "names"),
    [
        ([BY_NAME], [BY_ID], ["Acme"]),
        ([BY_ID], [BY_NAME], ["12"]),
        ([Buyer("B7", bid="B7")], [Buyer("12", "12", bid="B7")], ["B7"]),
        ([Buyer("12", "12", bid="B7")], [Buyer("B7", bid="B7", name="Acme")], ["12"]),
        ([BY_NAME], [BY_ID, OTHER], ["Acme", "13"]),
        ([BY_ID, OTHER], [BY_NAME], ["12"]),
        ([BY_ID, OTHER], [Buyer("Acme", name="Acme", status="Returned")], ["Acme"]),  # which of them, nobody can tell
        ([Buyer("12", "12", "B7", "Acme")], [Buyer("13", "13", "B7", "Acme")], ["13"]),
        ([Buyer("?")], [Buyer("?", status="Sold")], ["?"]),
        ([Delivery("API/?", name="API")], [Delivery("9", "9", "API", "12")], ["API/?"]),
        ([Delivery("9", "9", "API", "12")], [Delivery("API/12", None, "API", "12")], ["9"]),
        ([Delivery("API/1", None, "API", "1")], [Delivery("API/2", None, "API", "2")], ["API/2"]),
    ],
)
def test_a_row_is_recognised_by_any_name_that_is_told_once(
    known: list[Buyer], told: list[Buyer], names: list[str]
) -> None:
    for order in permutations(range(len(told))):
        recognised = recognise_rows(known, [told[at] for at in order])
        assert [row.key for row in recognised] == [names[at] for at in order]


def test_a_buyer_told_by_name_and_later_by_id_is_paid_for_once() -> None:
    known = derive_facts(Facts(buyers=(BY_NAME,)), State.APPROVED)
    now = derive_facts(merge_facts(known, Facts(buyers=(BY_ID,))), State.APPROVED)
    assert now.buyers == (Buyer("Acme", "12", None, "acme", "Sold", Decimal(10)),)
    assert now.revenue == Decimal(10)


def test_a_key_that_somebody_else_has_is_numbered() -> None:
    known = [Buyer("7", name="7", bid="x")]
    (told,) = recognise_rows(known, [Buyer("7", "7", bid="y")])
    assert told.key == "7#2"


names = st.none() | st.sampled_from("ab")
buyers = st.builds(Buyer, st.just(""), names, names, names, st.sampled_from(["Sold", "Unsold"])).map(
    lambda row: row.put_under(row.id or row.bid or row.name or "?")
)
lists = st.lists(buyers, max_size=4, unique_by=lambda row: row.key)


@given(lists, lists, st.randoms())
def test_the_order_of_rows_in_a_reply_does_not_matter(
    known: list[Buyer], told: list[Buyer], chance: random.Random
) -> None:
    once = {row.key: row for row in recognise_rows(known, told)}
    shuffled = list(told)
    chance.shuffle(shuffled)
    again = {row.key: row for row in recognise_rows(known, shuffled)}
    assert once.keys() == again.keys()
    assert len(once) == len(told)
    assert once == again
