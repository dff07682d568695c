"""Does our database say of each lead what LeadByte says? Compared field by field, for the demo and the tests.

Neighbour: `worker.local.effects` compares the actions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from worker.local.effects import find_wrong_effects

Truth = Mapping[str, Any]
Ours = Mapping[str, Any]

# The word LeadByte has for a lead, and ours.
_STATES = {
    "Approved": "approved",
    "Rejected": "rejected",
    "Returned": "returned",
    "Quarantined": "quarantined",
    "Pending": "pending",
    "Queued": "queued",
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """The comparison with the sandbox's truth: leads by queue ID, and every action that took effect there."""

    leads: int
    agreeing: int
    differences: dict[str, list[str]]
    effects: int
    wrong_effects: list[str]

    @property
    def is_complete(self) -> bool:
        """Whether there is no difference at all."""
        return not self.differences and not self.wrong_effects


def compare(
    truth: Mapping[str, Truth],
    ours: Mapping[str, Ours | None],
    effects: Collection[Mapping[str, Any]],
    ledger: Iterable[Mapping[str, Any]],
) -> Agreement:
    """Every lead of the truth against ours, and every effect in the sandbox's log against the ledger of actions."""
    differences = {}
    for queue_id, lead in truth.items():
        mine = ours[queue_id]
        found = ["never recorded"] if mine is None else find_differences(lead, mine)
        if found:
            differences[queue_id] = found
    wrong = list(find_wrong_effects(effects, ledger))
    return Agreement(len(truth), len(truth) - len(differences), differences, len(effects), wrong)


def name_state(status: str) -> str:
    """Our word for a status of the sandbox's truth."""
    return _STATES.get(status, status)


def find_differences(truth: Truth, ours: Ours) -> list[str]:
    """What we have recorded otherwise than it is; empty if all agrees.

    Args:
        truth: one lead of the sandbox's truth.
        ours: one lead as `worker.store.inquiries.read_leads` gives it.
    """
    pairs = {
        "state": (name_state(truth["status"]), ours["state"]),
        "campaign accepted": (truth["campaign_accepted"], ours["campaign_accepted"]),
        "result code": (truth["result_code"], ours["result_code"]),
        "lead ID": (_text(truth["lead_id"]), ours["lead_id"]),
        "rejection ID": (_text(truth["rejection_id"]), ours["rejection_id"]),
        "buyers": (_rows(truth["buyers"], "id"), _rows(ours["buyers"], "buyer_id")),
        "deliveries": (_rows(truth["deliveries"], "id"), _rows(ours["deliveries"], "delivery_id")),
        "revenue": (_money(truth["revenue"]), _money(ours["revenue"])),
        "payout": (_money(truth["payout"]), _money(ours["payout"])),
        "campaign": (_text((truth["campaign"] or {}).get("id")), ours["campaign_id"]),
        "supplier": (_text((truth["supplier"] or {}).get("id")), ours["supplier_id"]),
    }
    if truth["status"] == "Quarantined":
        pairs["quarantine ID"] = (_text(truth["quarantine_id"]), ours["quarantine_id"])
    return [f"{name}: LeadByte {theirs!r}, here {mine!r}" for name, (theirs, mine) in pairs.items() if theirs != mine]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _money(value: object) -> Decimal:
    # "Not told" and 0 are one here: the sandbox has no sum to tell where there is none.
    return Decimal(0) if value in {None, "Pending", ""} else Decimal(str(value))


def _rows(rows: list[Mapping[str, Any]] | None, key: str) -> dict[str | None, str | None]:
    return {_text(row[key]): row["status"] for row in rows or ()}
