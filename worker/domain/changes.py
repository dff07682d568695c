"""What changed about a lead after its verdict, in words: money, sale, buyers and deliveries.

Numbers and buyers' words only, none of which is data of the lead itself: it goes into events that reporting reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from worker.domain.facts import Buyer, Delivery, Facts
from worker.domain.values import read_word

Rows = Sequence[Buyer] | Sequence[Delivery]

MOST_SAID = 6
_LONGEST_NAME = 60


def describe_changes(before: Facts, after: Facts) -> str:
    """`revenue 12.00 → 0.00 (GBP), buyer Marlow: Sold → Returned`; empty where none of this changed."""
    said = [*_compare_money(before, after), *_compare_rows("buyer", before.buyers, after.buyers)]
    said += _compare_rows("delivery", before.deliveries, after.deliveries)
    more = [f"and {len(said) - MOST_SAID} more"] if len(said) > MOST_SAID else []
    return ", ".join(said[:MOST_SAID] + more)


def _compare_money(before: Facts, after: Facts) -> Iterator[str]:
    currency = f" ({after.currency})" if after.currency else ""
    for name in ("revenue", "payout"):
        then, now = getattr(before, name), getattr(after, name)
        if then != now:
            yield f"{name} {_say_amount(then)} → {_say_amount(now)}{currency}"
    for name in ("sold", "campaign_accepted", "currency"):
        then, now = getattr(before, name), getattr(after, name)
        if then != now:
            yield f"{name.replace('_', ' ')} {_say(then)} → {_say(now)}"


def _compare_rows(kind: str, before: Rows | None, after: Rows | None) -> list[str]:
    known = {row.key: row for row in before or ()}
    # By key: the order in which they were told is not kept.
    rows = sorted(after or (), key=_read_key)
    return [text for row in rows if (text := _compare_row(kind, known.get(row.key), row))]


def _read_key(row: Buyer | Delivery) -> str:
    return row.key


def _compare_row(kind: str, then: Buyer | Delivery | None, now: Buyer | Delivery) -> str:
    status, revenue = (None, None) if then is None else (then.status, then.revenue)
    # "SOLD" is no other word than "Sold".
    said = [f"{_say(status)} → {_say(now.status)}"] if read_word(status) != read_word(now.status) else []
    said += [f"{_say_amount(revenue)} → {_say_amount(now.revenue)}"] if revenue != now.revenue else []
    return f"{kind} {_cut(now.name or now.key)}: {'; '.join(said)}" if said else ""


def _say(value: str | bool | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not told" if value is None else _cut(value)


def _say_amount(amount: Decimal | None) -> str:
    if amount is None:
        return "not told"
    return f"{amount:.2f}" if amount == round(amount, 2) else f"{amount.normalize():f}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"
