"""What is asked for in the chaos run, of which leads, and what goes wrong with them on LeadByte's side."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from worker.domain.actions import Kind
from worker.sandbox import SandboxClient

STORIES = {"quarantined": 6, "requarantined": 2, "heldunsold": 2}
MARK = "Smuggled"  # in every field value, and to be found nowhere afterwards
Oddity = Literal["", "unprocessed", "person"]
_ODDITIES: list[Oddity] = ["", "unprocessed", "person"]
_KINDS: dict[tuple[Kind, bool], int] = {
    ("release", False): 10,
    ("reject", False): 4,
    ("release", True): 2,
    ("reject", True): 1,
    ("update", True): 3,
}


@dataclass(frozen=True)
class Ask:
    """One action, by its quarantine ID, and by its queue ID too where that is known here."""

    kind: Kind
    held: str
    queue_id: str | None
    fields: dict[str, str] | None


@dataclass(frozen=True)
class Plan:
    """One lead's part."""

    queue_id: str
    held: str
    is_known: bool  # else its queue ID is never tracked: there is no way to look
    asks: tuple[Ask, ...]
    oddity: Oddity


def plan_leads(box: SandboxClient, count: int, chance: random.Random) -> list[Plan]:
    """Submit so many leads that are all held at once, and draw the part of each."""
    submitted = box.submit(count)
    box.advance(10)
    truth = box.truth()
    return [_plan(queue_id, str(truth[queue_id]["quarantine_id"]), chance) for queue_id in submitted]


def _plan(queue_id: str, held: str, chance: random.Random) -> Plan:
    is_known = chance.random() < 0.85
    ((kind, has_fields),) = chance.choices(list(_KINDS), list(_KINDS.values()))
    first = Ask(kind, held, queue_id if is_known else None, make_fields(held) if has_fields else None)
    second = Ask("release", held, first.queue_id, None)
    asks = (first, second) if kind == "update" and chance.random() < 0.7 else (first,)
    (oddity,) = chance.choices(_ODDITIES, [90, 4, 6])
    return Plan(queue_id, held, is_known, asks, oddity)


def make_fields(held: str) -> dict[str, str]:
    """The values for a lead, the same whenever they are asked for."""
    return {"firstname": f"{MARK} {held}", "postcode": f"{MARK}-{held}"}
