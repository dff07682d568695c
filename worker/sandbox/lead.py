"""What is true of one lead at a given moment, and how its story moves on. Neighbours: `stories`, `drawing`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from worker.sandbox.market import Campaign, Delivery, Supplier
from worker.sandbox.stories import FINAL_STAGES, Refusal, Stage, Story


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What one delivery came to."""

    delivery: Delivery
    status: str
    reason: str | None = None
    revenue_pence: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything drawn for a lead when it was made; what of it shows depends on its stage."""

    campaign: Campaign
    supplier: Supplier
    lead_id: int
    rejection_id: int
    process_seconds: float
    results: tuple[DeliveryResult, ...]
    refusal: Refusal | None


@dataclass(slots=True)
class Lead:
    """One submitted lead. `moves` is its past and planned future, `ahead` what waits behind a quarantine."""

    queue_id: str
    account: str
    story: Story
    fields: dict[str, Any]
    submitted_at: float
    outcome: Outcome
    ahead: list[tuple[float, Stage]]
    moves: list[tuple[float, Stage]] = field(default_factory=list)
    quarantine_id: int | None = None
    polls: int = 0
    first_final_answer_at: float | None = None
    polls_until_final: int | None = None
    fault: str | None = None
    faults_left: int | None = None

    def plan_moves(self, from_at: float) -> None:
        """Lay the coming stages out in time, up to and including the next quarantine."""
        at = from_at
        while self.ahead:
            wait_seconds, stage = self.ahead.pop(0)
            at += wait_seconds
            self.moves.append((at, stage))
            if stage is Stage.QUARANTINED:
                return

    def leave_quarantine(self, at: float) -> None:
        """Released: queued again from `at`, and on with the story."""
        self.moves.append((at, Stage.QUEUED))
        self.plan_moves(at)

    def refuse_in_quarantine(self, at: float, refusal: Refusal) -> None:
        """Rejected by hand: the rest of the story is never told."""
        self.outcome = replace(self.outcome, refusal=refusal)
        self.ahead.clear()
        self.moves.append((at, Stage.REFUSED))

    def is_settled(self, now: float) -> bool:
        """Whether the lead is final and nothing more is planned for it."""
        return bool(self.moves) and self.moves[-1][0] <= now and self.moves[-1][1] in FINAL_STAGES


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A lead at one moment; both the wire and the truth are worded from this."""

    stage: Stage
    since_at: float
    resolved_at: float | None
    results: tuple[DeliveryResult, ...]

    @property
    def revenue_pence(self) -> int:
        """The sum over the buyers it is sold to now."""
        return sum(result.revenue_pence for result in self.results)

    @property
    def is_final(self) -> bool:
        """Whether this answer is one of the final ones (a return may still follow)."""
        return self.stage in FINAL_STAGES


def snapshot_lead(lead: Lead, now: float) -> Snapshot:
    """What is true of `lead` at `now` (Unix seconds)."""
    stage, since_at, resolved_at = Stage.QUEUED, lead.submitted_at, None
    for at, next_stage in lead.moves:
        if at > now:
            break
        stage, since_at = next_stage, at
        if resolved_at is None and stage in FINAL_STAGES:
            resolved_at = at
    return Snapshot(stage, since_at, resolved_at, _read_results(lead.outcome.results, stage))


def _read_results(drawn: tuple[DeliveryResult, ...], stage: Stage) -> tuple[DeliveryResult, ...]:
    """The deliveries as they stand at a stage; before acceptance there are none."""
    if stage in {Stage.APPROVED, Stage.UNSOLD}:
        return drawn
    if stage is Stage.PENDING:
        return tuple(
            result if result.status == "Skipped" else DeliveryResult(result.delivery, "Assigned") for result in drawn
        )
    if stage is Stage.RETURNED:
        return tuple(
            DeliveryResult(result.delivery, "Returned", "Returned by buyer") if result.status == "Sold" else result
            for result in drawn
        )
    return ()
