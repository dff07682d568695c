"""Words of LeadByte's that we do not know: each reported once, with the shape of the reply it came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from worker.store.bulk import execute_many, list_rows, unnest


@dataclass(frozen=True, slots=True)
class UnknownWord:
    """A status word, and the reply around it without any of its values."""

    word: str
    shape: str


# Of one account, those seen last. LeadByte has a dozen; who tells more puts something else where the status should be.
MOST_WORDS = 200

_COLUMNS = {"word": "text", "shape": "text"}

# xmax is 0 in a row that was just inserted, and not in one that was there already.
_NOTE = text(f"""
    insert into resolver.unknown_words (account_id, word, shape, first_seen_at, last_seen_at, times)
    select a.id, s.word, s.shape, :now, :now, 1
    from {unnest(_COLUMNS, "s")} join resolver.accounts a on a.name = :account
    on conflict (account_id, word) do update set last_seen_at = :now, times = unknown_words.times + 1
    returning word, xmax = 0 as is_new
""")
_FORGET = text("""
    delete from resolver.unknown_words where (account_id, word) in (
        select a.id, u.word from resolver.accounts a join resolver.unknown_words u on u.account_id = a.id
        where a.name = :account order by u.last_seen_at desc, u.word offset :most
    )
""")
_LIST = text("""
    select a.name as account, u.word, u.shape, u.first_seen_at, u.last_seen_at, u.times
    from resolver.unknown_words u join resolver.accounts a on a.id = u.account_id
    order by u.last_seen_at desc limit 20
""")


def note_unknown_words(connection: Connection, account: str, words: Sequence[UnknownWord], now: datetime) -> list[str]:
    """Count the words (each once a batch); returns those that are new. Beyond MOST_WORDS, those seen longest ago go."""
    if not words:
        return []
    rows = list_rows(_COLUMNS, words)
    noted = execute_many(connection, _NOTE, _COLUMNS, rows, account=account, now=now)
    new = [row.word for row in noted if row.is_new]
    if new:
        connection.execute(_FORGET, {"account": account, "most": MOST_WORDS})
    return new


def list_unknown_words(connection: Connection) -> list[dict[str, Any]]:
    """The words seen last."""
    return [dict(row) for row in connection.execute(_LIST).mappings()]
