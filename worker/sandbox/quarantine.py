"""Acting on held leads: update, release, reject; and the log of what took effect, exactly when it did.

An answer says "queued"; the effect comes `action_seconds` later, if the lead is still held then.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from worker.sandbox.lead import Lead, snapshot_lead
from worker.sandbox.ledger import Ledger
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.stories import REJECTED_FROM_QUARANTINE, Stage

Action = Literal["process", "reject"]
ACTIONS: tuple[Action, ...] = ("process", "reject")


class QuarantineDesk:
    """Takes requests, carries them out when due, and logs the effective ones."""

    def __init__(self, settings: SandboxSettings, ledger: Ledger, read_clock: Callable[[], float]) -> None:
        self._settings = settings
        self._ledger = ledger
        self._read_clock = read_clock
        self._due: list[tuple[float, int, int, Action]] = []
        self._order = itertools.count()
        self.actions: list[dict[str, Any]] = []
        self.requests: Counter[tuple[int, str]] = Counter()

    def update_fields(self, account: str, quarantine_id: int, update: dict[str, Any]) -> bool:
        """Change a held lead's data at once; False if it is not held."""
        self.requests[quarantine_id, "update"] += 1
        now = self._read_clock()
        lead = self._find_held_at(quarantine_id, now)
        if lead is None or lead.account != account:
            return False
        # A new dict: an answer already worded must not change under the writer.
        lead.fields = {**lead.fields, **update}
        self._log(lead, quarantine_id, "update", now, "api", fields=sorted(update))
        return True

    def queue_action(self, account: str, quarantine_id: int, action: Action, *, takes_effect: bool) -> bool:
        """Queue a release or rejection; False if the account holds no such lead now."""
        self.requests[quarantine_id, action] += 1
        now = self._read_clock()
        lead = self._find_held_at(quarantine_id, now)
        if lead is None or lead.account != account:
            return False
        if takes_effect:
            due_at = now + self._settings.action_seconds
            heapq.heappush(self._due, (due_at, next(self._order), quarantine_id, action))
        return True

    def act_as_person(self, quarantine_id: int, action: Action) -> bool:
        """Somebody at LeadByte releases or rejects at once; False if there was nothing to act on."""
        now = self._read_clock()
        self.carry_out_due(now)
        return self._carry_out(quarantine_id, action, now, "person")

    def carry_out_due(self, now: float) -> None:
        """Let everything due take effect, in order and at its own moment."""
        while self._due and self._due[0][0] <= now:
            at, _, quarantine_id, action = heapq.heappop(self._due)
            self._carry_out(quarantine_id, action, at, "api")

    def _carry_out(self, quarantine_id: int, action: Action, at: float, by: str) -> bool:
        lead = self._find_held_at(quarantine_id, at)
        if lead is None:
            return False
        del self._ledger.held[quarantine_id]
        if action == "reject":
            lead.refuse_in_quarantine(at, REJECTED_FROM_QUARANTINE)
        else:
            if any(stage is Stage.QUARANTINED for _, stage in lead.ahead):
                self._ledger.assign_quarantine_id(lead)
            lead.leave_quarantine(at)
        self._log(lead, quarantine_id, action, at, by)
        return True

    def _find_held_at(self, quarantine_id: int, at: float) -> Lead | None:
        lead = self._ledger.held.get(quarantine_id)
        return lead if lead is not None and snapshot_lead(lead, at).stage is Stage.QUARANTINED else None

    def _log(self, lead: Lead, quarantine_id: int, action: str, at: float, by: str, **more: object) -> None:
        names = {"quarantine_id": quarantine_id, "queue_id": lead.queue_id, "account": lead.account}
        self.actions.append({**names, "action": action, "at": at, "by": by, **more})
