"""Which reply each known fact is from, and when it came: a lead's journal folded once more, compared at each step.

Nothing of it is stored. Neighbours: `worker.folding` says what a reply means, `lead-resolver show` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec.structs import asdict
from sqlalchemy import Connection

from worker.accounts import Account
from worker.domain.facts import Facts, Named
from worker.domain.lifecycle import State
from worker.folding import Folding, fold_reply
from worker.store.outcomes import load_facts
from worker.store.worklist import JournalledReply, read_journal

FORGOTTEN = "from a reply no longer kept"
READ_BEFORE = "from a reply that reads differently today; `lead-resolver replay --dry-run` says how"
_PLAIN = (
    "campaign_accepted", "result_code", "result_reason", "lead_id", "rejection_id", "sold", "revenue", "payout",
    "payout_pending", "currency", "quarantine_id", "processed_at", "processed_raw",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evidence:
    """A known fact, and the reply that last changed it, by its id; None: that reply can't be named."""

    value: object
    reply: int | None
    received_at: datetime | None
    said: str


def find_evidence(
    connection: Connection, lead_id: int, queue_id: str, account: Account | None = None
) -> dict[str, Evidence]:
    """Each recorded fact of a lead by its name in `show`, buyers as `buyer KEY`, deliveries as `delivery KEY`.

    `account`: its configuration, where this process has it.
    """
    facts, _, is_cut = load_facts(connection, [lead_id]).get(lead_id, (Facts(), 0, False))
    return explain_facts(queue_id, facts, read_journal(connection, [lead_id]), account, is_cut=is_cut)


def explain_facts(
    queue_id: str,
    known: Facts,
    replies: Sequence[JournalledReply],
    account: Account | None = None,
    *,
    is_cut: bool,
) -> dict[str, Evidence]:
    """The same, from the persisted replies that are kept, oldest first; `is_cut`: older ones were forgotten."""
    folding = Folding(0, queue_id, State.QUEUED, None, None, Facts(), account)
    facts, found = dict[str, Any](), dict[str, Evidence]()
    for reply in replies:
        reading = fold_reply(folding, reply)
        before, facts = facts, dict(_list_facts(folding.facts))
        changed = {name: value for name, value in facts.items() if before.get(name) != value}
        for name, value in changed.items():
            found[name] = Evidence(value, reply.reply_id, reply.received_at, reading.reason)
    unknown = FORGOTTEN if is_cut or not replies else READ_BEFORE
    return {
        name: found[name] if name in found and found[name].value == value else Evidence(value, None, None, unknown)
        for name, value in _list_facts(known)
    }


def _list_facts(facts: Facts) -> Iterator[tuple[str, Any]]:
    """What is told, name by name."""
    for name in _PLAIN:
        if (value := getattr(facts, name)) is not None:
            yield name, value
    for name, named in (("campaign", facts.campaign), ("supplier", facts.supplier)):
        yield from _list_named(name, named or Named())
    for kind, rows in (("buyer", facts.buyers), ("delivery", facts.deliveries)):
        for row in rows or ():
            told = {name: value for name, value in asdict(row).items() if name != "key" and value is not None}
            yield f"{kind} {row.key}", told


def _list_named(name: str, named: Named) -> Iterator[tuple[str, str]]:
    for part, value in (("id", named.id), ("name", named.name)):
        if value is not None:
            yield f"{name}_{part}", value
