"""Which row of a reply is which row that is known: a buyer told by name first and by id later is one buyer.

A match is made only where it is the only one possible, on both sides, so the order of rows within a reply never
matters. Neighbour: `worker.domain.facts`, whose buyers and deliveries these are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Protocol, Self, TypeVar


class _Row(Protocol):
    @property
    def key(self) -> str: ...
    def list_identities(self) -> tuple[Hashable, ...]: ...
    def contradicts(self, other: Self, /) -> bool: ...
    def put_under(self, key: str) -> Self: ...


R = TypeVar("R", bound=_Row)


def recognise_rows(known: Sequence[R], told: Sequence[R]) -> tuple[R, ...]:
    """The rows told, each under the key of the known row that it is, else under one of its own."""
    names_of_known, names_of_told = [_list_looks(row) for row in known], [_list_looks(row) for row in told]
    matches: dict[int, int] = {}
    for level in range(len(names_of_told[0]) if known and told else 0):
        by_look: dict[Hashable, list[int]] = {}
        for at in set(range(len(known))) - set(matches.values()):
            by_look.setdefault(names_of_known[at][level], []).append(at)
        pairs = [
            (n, at)
            for n, names in enumerate(names_of_told)
            if n not in matches and names[level] is not None
            for at in by_look.get(names[level], ())
            if not known[at].contradicts(told[n])
        ]
        matches.update(_keep_unambiguous(pairs))
    taken = {row.key for row in known}
    return tuple(
        row.put_under(known[matches[n]].key if n in matches else _free_key(row.key, taken))
        for n, row in enumerate(told)
    )


def _list_looks(row: _Row) -> tuple[Hashable, ...]:
    """By what the row may be known again, surest first; its key last, which alone knows a row without any name."""
    return (*row.list_identities(), row.key)


def _keep_unambiguous(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    told, known = Counter(n for n, _ in pairs), Counter(at for _, at in pairs)
    return [(n, at) for n, at in pairs if told[n] == known[at] == 1]


def _free_key(key: str, taken: set[str]) -> str:
    free, number = key, 1
    while free in taken:
        number += 1
        free = f"{key}#{number}"
    taken.add(free)
    return free
