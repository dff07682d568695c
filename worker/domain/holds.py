"""What becomes of a held lead by rule: released once fields are there, rejected after so long; pure.

Both rules are off unless configured. Neighbours: `worker.accounts` has the rules of each account and campaign,
`worker.policies` asks for what is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.actions import Kind
from worker.domain.facts import Named
from worker.domain.values import fold_key

RELEASE_SETTING, REJECT_SETTING = "LEADBYTE_RELEASE_WHEN_FIELDS", "LEADBYTE_REJECT_AFTER_DAYS"
_MOST_NAMED = 400  # characters of field names in a reason


@dataclass(frozen=True, slots=True)
class HoldRules:
    """When a held lead is released or rejected without anybody asking."""

    release_when_fields: tuple[str, ...] = ()  # none: never
    reject_after: timedelta | None = None

    @property
    def is_any_on(self) -> bool:
        """Whether there is anything to decide."""
        return bool(self.release_when_fields) or self.reject_after is not None


@dataclass(frozen=True, slots=True)
class Hold:
    """A held lead, and what is known that bears on it; `asked` is what a rule asked for before, in this hold."""

    queue_id: str
    held_since: datetime
    campaign: Named | None
    filled: frozenset[str]  # names of fields, as LeadByte showed them or as we set them
    asked: frozenset[str]


@dataclass(frozen=True, slots=True)
class Decision:
    """An action, and the reason for it, which names the setting."""

    kind: Kind
    reason: str


def decide_hold(rules: HoldRules, hold: Hold, now: datetime) -> Decision | None:
    """What a rule asks for now, if any does; each at most once a hold, also if LeadByte refused it."""
    wanted = rules.release_when_fields
    if wanted and "release" not in hold.asked and not list_missing(wanted, hold.filled):
        return Decision("release", f"{RELEASE_SETTING}: all there: {', '.join(wanted)[:_MOST_NAMED]}")
    if rules.reject_after is not None and "reject" not in hold.asked and now - hold.held_since >= rules.reject_after:
        return Decision("reject", f"{REJECT_SETTING}: held for {rules.reject_after / timedelta(days=1):g} days")
    return None


def foretell_hold(rules: HoldRules, hold: Hold) -> Iterator[str]:
    """What rules will ask for, and when, unless somebody acts before."""
    if rules.release_when_fields and "release" not in hold.asked:
        missing = ", ".join(list_missing(rules.release_when_fields, hold.filled))
        when = f"once these fields are there: {missing}" if missing else "within a minute"
        yield f"released {when} ({RELEASE_SETTING})"
    if rules.reject_after is not None and "reject" not in hold.asked:
        yield f"rejected at {hold.held_since + rules.reject_after:%Y-%m-%d %H:%M} UTC ({REJECT_SETTING})"


def list_missing(wanted: Iterable[str], filled: Iterable[str]) -> list[str]:
    """The wanted fields that are not there; `Post-Code` and `postcode` are one."""
    there = {fold_key(name) for name in filled}
    return [name for name in wanted if fold_key(name) not in there]
