"""Reading the journal again with today's reader: what would change, and changing it. LeadByte is not asked.

A dry run does exactly what a real one does, and rolls it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from worker.results import NO_RULES, Rules, refold_leads
from worker.store.db import transaction
from worker.store.journal import Chosen, Snapshot, choose_leads, read_snapshot
from worker.store.outcomes import lock_leads

PAGE = 50  # leads in one transaction: their whole journals must fit into its bound


@dataclass(frozen=True, slots=True)
class Change:
    """One lead that reads differently today: (before, after) by name of the fact."""

    account: str
    queue_id: str
    facts: dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Replayed:
    """One page of a replay. `incomplete` journals had old replies forgotten: the rest was read on top of the facts."""

    leads: int
    incomplete: int
    changes: tuple[Change, ...]


def replay(engine: Engine, chosen: Chosen, rules: Rules = NO_RULES, *, dry_run: bool) -> Iterator[Replayed]:
    """Replay the journal of the chosen leads, page by page; each yielded page is committed, or rolled back if dry."""
    after = 0
    while (page := _replay_page(engine, chosen, rules, after, dry_run=dry_run)) is not None:
        after, replayed = page
        yield replayed


def _replay_page(
    engine: Engine, chosen: Chosen, rules: Rules, after: int, *, dry_run: bool
) -> tuple[int, Replayed] | None:
    with transaction(engine, keep=not dry_run) as connection:
        lead_ids = choose_leads(connection, chosen, after, PAGE)
        if not lead_ids:
            return None
        # Locked before looking: what is persisted meanwhile is no change of ours.
        incomplete = sum(lead.journal_is_cut for lead in lock_leads(connection, lead_ids))
        changes = tuple(_replay_leads(connection, lead_ids, rules))
    return lead_ids[-1], Replayed(len(lead_ids), incomplete, changes)


def _replay_leads(connection: Connection, lead_ids: list[int], rules: Rules) -> Iterator[Change]:
    before = read_snapshot(connection, lead_ids)
    refold_leads(connection, lead_ids, rules)
    yield from _compare(before, read_snapshot(connection, lead_ids))


def _compare(before: Snapshot, after: Snapshot) -> Iterator[Change]:
    for lead_id, now in after.items():
        then = before[lead_id]
        facts = {name: (then[name], value) for name, value in now.items() if then[name] != value}
        if facts:
            yield Change(now["account"], now["queue_id"], facts)
