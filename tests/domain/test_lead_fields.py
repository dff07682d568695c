"""Which lead-data fields are filled: names, never values, and the same from the journal as from the reply."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.classify import classify_reply
from worker.domain.lead_fields import LONGEST_NAME, MOST_NAMES, list_filled_fields
from worker.domain.values import JSON
from worker.leadbyte.wire import decode_text, prepare_for_journal

SECRET = "jo@example.com"


@pytest.mark.parametrize(
    ("block", "names"),
    [
        ({"email": SECRET, "Post_Code": "TN25", "phone 1": 0, "title": "", "x": "-", "y": "{y}", "z": None},
         ["email", "phone1", "postcode"]),
        ({"optIn": False, "tags": [], "more": {"a": 1}}, ["more", "optin"]),
        ([{"name": "email", "value": SECRET}, {"field": "dob", "value": ""}], ["email"]),
        ([{"email": SECRET}, {"postcode": "TN25"}], ["email", "postcode"]),
        ({SECRET: True, "07000 000000": "yes", "+44": 1}, []),
        ([SECRET], []),
        (SECRET, []),
        ({}, []),
        ({"x" * (LONGEST_NAME + 1): 1, "x" * LONGEST_NAME: 1}, ["x" * LONGEST_NAME]),
    ],
    ids=repr,
)  # fmt: skip
def test_the_names_of_filled_fields_are_listed(block: JSON, names: list[str]) -> None:
    assert list_filled_fields(block) == names


def test_the_list_is_bounded() -> None:
    assert len(list_filled_fields({f"field{n}": 1 for n in range(1000)})) == MOST_NAMES


def read(document: JSON) -> tuple[str, ...] | None:
    return classify_reply("lead-0001", 200, document).facts.fields_present


BLOCKS: list[JSON] = [None, {}, {"email": SECRET}, [{"name": "email", "value": SECRET}], SECRET]


@pytest.mark.parametrize("place", ["record", "response", "root"])
@pytest.mark.parametrize("name", ["lead", "leadData", "data", "fields"])
@pytest.mark.parametrize(("block", "names"), list(zip(BLOCKS, [None, (), ("email",), ("email",), None], strict=True)))
def test_reply_and_journal_tell_the_same_names_and_the_journal_no_value(
    place: str, name: str, block: JSON, names: tuple[str, ...] | None
) -> None:
    told: dict[str, JSON] = {name: block}
    record: dict[str, JSON] = {
        "queueId": "lead-0001",
        "status": "Approved",
        "response": told if place == "response" else {},
    }
    record |= told if place == "record" else {}
    document: JSON = {"records": [record], **(told if place == "root" else {})}
    kept, _ = prepare_for_journal(decode_text(json.dumps(document)), keep_lead_data=False)
    assert SECRET not in kept
    assert read(document) == names
    assert read(json.loads(kept)) == names


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=5))
def test_no_value_is_ever_a_name(block: dict[str, str]) -> None:
    marked: JSON = {name: f"~{value}" for name, value in block.items()}
    assert not any("~" in name for name in list_filled_fields(marked))
