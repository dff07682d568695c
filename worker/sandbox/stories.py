"""What can become of a lead: every story in one table, how often each is told, and how they are dealt.

`lead.py` lives a story through time, `shapes.py` words it as LeadByte does.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """Where a lead stands in its story."""

    QUEUED = "queued"
    PENDING = "pending"
    APPROVED = "approved"
    UNSOLD = "unsold"
    REFUSED = "refused"
    QUARANTINED = "quarantined"
    RETURNED = "returned"


FINAL_STAGES = frozenset({Stage.APPROVED, Stage.UNSOLD, Stage.REFUSED, Stage.RETURNED})
ACCEPTED_STAGES = frozenset({Stage.PENDING, Stage.APPROVED, Stage.UNSOLD, Stage.RETURNED})


@dataclass(frozen=True, slots=True)
class Refusal:
    """A campaign's no, as documented: code, words and `info` in one of its three shapes."""

    code: int
    response: str
    info: list[str] | dict[str, str]


REFUSALS = {
    refusal.code: refusal
    for refusal in (
        Refusal(-2, "Duplicate or resubmission", []),
        Refusal(-3, "Remote system error", ["Remote system timed out"]),
        Refusal(-4, "Campaign cap reached", []),
        Refusal(-5, "Validation error", ["email is not valid", "postcode is required"]),
        Refusal(-7, "Supplier not authorised", []),
        Refusal(-8, "HLR rejection", {"status": "UNDELIV", "code": "EC_UNKNOWN_SUBSCRIBER"}),
        Refusal(-9, "Campaign not active", []),
        Refusal(-10, "PAF rejection", ["Address not found"]),
        Refusal(-11, "IP address blocked", ["Blocked range"]),
        Refusal(-12, "Email rejection", {"status": "INVALID", "reason": "Mailbox does not exist"}),
        Refusal(-13, "Landline rejection", {"status": "DEAD"}),
        Refusal(-14, "IP country rejection", ["Country not allowed"]),
        Refusal(-15, "TPS match", []),
        Refusal(-16, "DNCR match", []),
        Refusal(-100, "Internal error", []),
    )
}
# LeadByte does not publish what a lead rejected out of quarantine reads like; a validation error is nearest.
REJECTED_FROM_QUARANTINE = Refusal(-5, "Validation error", ["Rejected from quarantine"])


@dataclass(frozen=True, slots=True)
class Story:
    """The stages a lead goes through after "Queued", each after its own wait."""

    name: str
    does: str
    stages: tuple[Stage, ...]
    sold_to: int = 0
    refusal: Refusal | None = None


def _tell_refusals() -> tuple[Story, ...]:
    """One story per documented code, named `rejected-2` to `rejected-100`."""
    return tuple(
        Story(f"rejected{code}", f"refused: {code} {refusal.response}", (Stage.REFUSED,), refusal=refusal)
        for code, refusal in REFUSALS.items()
    )


STORIES: dict[str, Story] = {
    story.name: story
    for story in (
        Story("approved", "approved, sold to one buyer", (Stage.APPROVED,), sold_to=1),
        Story("several", "approved, sold to two buyers", (Stage.APPROVED,), sold_to=2),
        Story("unsold", "accepted and unsold: Rejected with a leadId", (Stage.UNSOLD,)),
        *_tell_refusals(),
        Story("pending", "Pending, then approved", (Stage.PENDING, Stage.APPROVED), sold_to=1),
        Story("pendingunsold", "Pending, then unsold", (Stage.PENDING, Stage.UNSOLD)),
        Story("quarantined", "held; approved once released", (Stage.QUARANTINED, Stage.APPROVED), sold_to=1),
        Story(
            "requarantined",
            "held twice, with a new quarantineId; approved once released again",
            (Stage.QUARANTINED, Stage.QUARANTINED, Stage.APPROVED),
            sold_to=1,
        ),
        Story("heldunsold", "held; unsold once released", (Stage.QUARANTINED, Stage.UNSOLD)),
        # Documented: on release caps, schedules, rules and duplication apply again.
        Story(
            "heldcapped",
            "held; refused once released: -4 Campaign cap reached",
            (Stage.QUARANTINED, Stage.REFUSED),
            refusal=REFUSALS[-4],
        ),
        Story("returned", "approved, later Returned", (Stage.APPROVED, Stage.RETURNED), sold_to=1),
        Story("queued", "stays Queued for ever", ()),
    )
}

_EVERYDAY = {
    "approved": 37,
    "several": 8,
    "unsold": 10,
    **{f"rejected{code}": 1 for code in REFUSALS},
    "rejected-2": 5,
    "rejected-5": 4,
    "pending": 7,
    "pendingunsold": 4,
    "quarantined": 5,
    "requarantined": 1,
    "heldunsold": 2,
    "returned": 3,
    "queued": 1,
}
PRESETS: dict[str, dict[str, int]] = {
    "everyday": _EVERYDAY,
    # A demo has to end: every lead can reach its last stage. And it is to show a second hold, whoever is released.
    "demo": {**_EVERYDAY, "approved": 36, "requarantined": 3, "queued": 0},
    "plain": {"approved": 80, "rejected-5": 20},
}


class StoryDeck:
    """Deals stories like cards: each round of sum(weights) leads tells every story, in a seeded order."""

    def __init__(self, weights: Mapping[str, int], seed: int) -> None:
        self._cards = [STORIES[name] for name, weight in weights.items() for _ in range(weight)]
        self._chance = random.Random(f"{seed}:deck")
        self._left: list[Story] = []

    def deal_story(self) -> Story:
        """The next lead's story."""
        if not self._left:
            self._left = self._cards.copy()
            self._chance.shuffle(self._left)
        return self._left.pop()
