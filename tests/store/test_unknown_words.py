"""Words that LeadByte is not known to use are counted, as many as it can have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.store.db import read_clock, transaction
from worker.store.drift import MOST_WORDS, UnknownWord, note_unknown_words

Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def note(engine: Engine, make_due: Callable[..., None]) -> Callable[[Sequence[str]], list[str]]:
    make_due(1)

    def do(words: Sequence[str]) -> list[str]:
        with transaction(engine) as connection:
            told = [UnknownWord(word, "{}") for word in words]
            return note_unknown_words(connection, "acme", told, read_clock(connection))

    return do


def test_a_word_is_new_once(note: Callable[[Sequence[str]], list[str]]) -> None:
    assert [note(["Odd"]), note(["Odd", "Odder"])] == [["Odd"], ["Odder"]]


def test_the_words_seen_last_are_kept_as_many_as_a_language_of_states_may_have(
    note: Callable[[Sequence[str]], list[str]], sql: Sql
) -> None:
    for batch in (["old"], [f"word-{n}" for n in range(MOST_WORDS)], ["new"]):
        assert sorted(note(batch)) == sorted(batch)
    kept = [word for (word,) in sql("select word from resolver.unknown_words")]
    assert len(kept) == MOST_WORDS
    assert "old" not in kept
    assert "new" in kept
