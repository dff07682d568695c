"""Small things as LeadByte writes them: money, moments, ids, words; and what is not told."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.values import (
    JSON,
    LARGEST_AMOUNT,
    LONGEST_TEXT,
    fold_key,
    fold_keys,
    read_currency,
    read_id,
    read_int,
    read_moment,
    read_money,
    read_text,
    read_word,
)

READERS = (read_text, read_id, read_int, read_money, read_moment, read_word, read_currency)
NOT_TOLD: list[JSON] = [
    None, "", " ", "\t\n", "-", "--", "null", "NULL", "None", "N/A", "n/a", "NaN", "undefined", "{payout}", "{}",
    True, False, [], {}, ["x", "y"], {"a": 1}, "\x00", 10**5000,
]  # fmt: skip

json_values: st.SearchStrategy[JSON] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("value", NOT_TOLD, ids=lambda value: repr(value)[:20] if not isinstance(value, int) else "int")
def test_a_marker_of_nothing_is_not_told(reader: type, value: JSON) -> None:
    assert reader(value) is None


@given(json_values)
def test_no_value_makes_a_reader_raise(value: JSON) -> None:
    for reader in READERS:
        reader(value)


@given(json_values)
def test_a_text_is_short_and_on_one_line(value: JSON) -> None:
    text = read_text(value)
    assert text is None or (0 < len(text) <= LONGEST_TEXT and not set(text) & set("\x00\t\r\n\x1b\x85\u2028"))


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("12.50", "12.5"), (12.5, "12.5"), (12, "12"), ("12", "12"), ("0", "0"), (0, "0"), ("-3.20", "-3.2"),
        ("1,234.56", "1234.56"), ("1,234,567", "1234567"), ("£12.50", "12.5"), ("£ 12.50", "12.5"),
        ("£\xa012.50", "12.5"), ("-£5", "-5"), ("£-5", "-5"), ("12.50 GBP", "12.5"), ("GBP 12.50", "12.5"),
        ("US$1,000.00", "1000"), ("12€", "12"), (" 12.50 ", "12.5"), ("0.1234567", "0.123457"),
        ("999999999.999999", "999999999.999999"), (".50", "0.5"), ("£.50", "0.5"), ("+12.50", "12.5"),
        ("Pending", None), ("free", None),
        ("12,50", "12.5"), ("1.234,56", "1234.56"), ("1,23", "1.23"), ("€ 1.234.567,89", "1234567.89"),
        ("1 234,56", "1234.56"), ("1 234.56", "1234.56"), ("1'234.56", "1234.56"), ("12.50 Pounds", "12.5"),
        ("1,234", "1234"), ("1.234", "1.234"), ("1,2345.00", None), ("1.234,567", None), ("1,234,56", None),
        ("12,5", None), ("12p", None), ("12k", None), ("12 leads", None), ("(5.00)", None), ([12.5], "12.5"),
        ({"amount": "12.50"}, "12.5"), ([12.5, 13], None), ("12.5.0", None),
        ("10%", None), ("#17", None), ("12-50", None), ("--5", None), ("£-", None), ("1e3", None), (1e22, None),
        ("٣", None), ("12 or 13", None), (float("nan"), None), (float("inf"), None), ("1" * 500, None),
        ("1" + ",000" * 100, None), (str(LARGEST_AMOUNT), None), ("999999999.9999999", None), (-(10**9), None),
        ("-£-5", None), (".", None), ("-.", None), ("12.", None), ("+-5", None),
    ],
)  # fmt: skip
def test_money_is_exact_or_not_told(value: JSON, amount: str | None) -> None:
    assert read_money(value) == (None if amount is None else Decimal(amount))


@given(json_values | st.text("0123456789.,-£$ GBP"))
def test_an_amount_fits_its_column_as_it_is(value: JSON) -> None:
    amount = read_money(value)
    assert amount is None or (abs(amount) < LARGEST_AMOUNT and amount == round(amount, 6))


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2022-11-17T16:03:04Z", datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC)),
        ("2022-11-17T16:03:04+0100", datetime(2022, 11, 17, 15, 3, 4, tzinfo=UTC)),
        ("2022-11-17T16:03:04", datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC)),
        ("2022-11-17 16:03:04", datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC)),
        ("2022-11-17", datetime(2022, 11, 17, tzinfo=UTC)),
        (1668700984, datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC)),
        ("1668700984", datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC)),
        ("2000-01-01T00:00:00+14:00", datetime(1999, 12, 31, 10, tzinfo=UTC)),
        ("0000-00-00 00:00:00", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("1999-12-31", None),
        ("2100-01-01", None),
        ("2022/11/17 16:03:04", datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC)),
        ("2022-11-17T16:03:04z", datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC)),
        ("17/11/2022 16:03", None),
        ("2022-02-30", None),
        ("yesterday", None),
        (1668700984000, datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC)),
        ("2022-11-17 16:03:04 UTC", datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC)),
        ("Thu, 17 Nov 2022 16:03:04 GMT", datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC)),
        (10**14, None),
        (0.43, None),
        (1668700984.25, datetime(2022, 11, 17, 16, 3, 4, tzinfo=UTC)),
        ("1668700984.", None),
    ],
)
def test_a_moment_is_utc_or_not_told(value: JSON, moment: datetime | None) -> None:
    assert read_moment(value) == moment


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1), ("1", 1), (1.0, 1), ("-8", -8), ("-100.00", -100), (" 1 ", 1), ("1.5", None), ("one", None),
     (10**9, None), ("1" * 5000, None), ("٣", None)],
)  # fmt: skip
def test_a_code_is_a_small_whole_number(value: JSON, number: int | None) -> None:
    assert read_int(value) == number


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), ("7", "7"), (0, None), ("0", None), ("ac-1", "ac-1"), (2**70, str(2**70))]
)
def test_an_id_is_a_text_and_zero_is_none(value: JSON, text: str | None) -> None:
    assert read_id(value) == text


@pytest.mark.parametrize(
    ("value", "currency"),
    [
        ("gbp", "GBP"),
        ("GBP", "GBP"),
        ("£", "GBP"),
        ("$", "$"),
        (["EUR"], "EUR"),
        ({"code": "gbp", "name": "Pounds"}, "GBP"),
        ("Britain (United Kingdom), Pounds", "Britain (United Kingdom), Pounds"),
    ],
)
def test_a_currency_is_its_code_or_leadbytes_long_form(value: JSON, currency: str) -> None:
    assert read_currency(value) == currency


@pytest.mark.parametrize("value", ["Not Found", "not_found", " NOT-FOUND ", "notfound", "Not\tFound"])
def test_a_word_is_the_same_however_it_is_spelt(value: str) -> None:
    assert read_word(value) == "notfound"


@pytest.mark.parametrize("key", ["queueId", "queue_id", "QueueID", "queue-id", "Queue ID"])
def test_a_name_is_the_same_however_it_is_spelt(key: str) -> None:
    assert fold_key(key) == "queueid"


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({"leadId": 7, "lead_id": 7}, 7),
        ({"leadId": None, "lead_id": 7}, 7),
        ({"leadId": 7, "lead_id": ""}, 7),
        ({"leadId": 7, "lead_id": 8}, None),
        ({"leadId": 7, "lead_id": 8, "LEADID": 7}, None),
        ({"leadId": "", "lead_id": None}, ""),
    ],
)
def test_two_spellings_of_a_name_tell_together_what_they_agree_upon(block: dict[str, JSON], told: JSON) -> None:
    assert fold_keys(block) == {"leadid": told}
