"""Queue IDs, and what is wrong with everything else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.queue_id import PATTERN, parse_queue_id
from worker.errors import InvalidQueueId


@pytest.mark.parametrize("text", ["ac1e0206-6d6fd2fa-62ce91e7-ba33-5cc458e6", "abcdefgh", "A" * 64, "--------"])
def test_a_queue_id_is_kept_as_it_is(text: str) -> None:
    assert parse_queue_id(text) == text


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "it is empty"),
        ("abcdefg", "it has 7 characters"),
        ("a" * 65, "it has 65 characters"),
        ("a" * 10_000_000, "it has 10,000,000 characters"),
        ("abcdefgh\n", r"'\n' at position 9"),
        ("abcdefgh\r\nX-Evil: 1", r"'\r' at position 9"),
        ("abc\x00defgh", r"'\x00' at position 4"),
        ("../../etc/passwd", "'.' at position 1"),
        ("%2e%2e%2fabcd", "'%' at position 1"),
        ("abcdefgh?key=1", "'?' at position 9"),
        ("abcdefgh'; drop table leads", '"\'" at position 9'),
        ("1234567٣", r"'\u0663' at position 8"),
        ("ac1e0206 12eaee18", "' ' at position 9"),
        ("abcdefg\ud800", r"'\ud800' at position 8"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str, wrong: str) -> None:
    with pytest.raises(InvalidQueueId) as caught:
        parse_queue_id(text)
    assert wrong in str(caught.value)


@given(st.text(st.characters(codec=None), max_size=80) | st.from_regex(PATTERN))
def test_a_text_is_either_a_queue_id_or_refused_in_one_printable_line(text: str) -> None:
    if re.fullmatch(PATTERN, text):
        assert parse_queue_id(text) == text
        return
    with pytest.raises(InvalidQueueId) as caught:
        parse_queue_id(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
