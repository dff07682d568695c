"""Which leads exist, and which quarantine ID is whose. Makes leads; `quarantine.py` and time move them."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from typing import Any

from worker.sandbox.drawing import draw_outcome, draw_queue_id, draw_waits, median_wait
from worker.sandbox.lead import Lead
from worker.sandbox.magic import read_magic
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.stories import STORIES, Stage, StoryDeck

_QUEUE_ID = re.compile(r"[0-9A-Za-z-]{8,64}", re.ASCII)
_ROUTING_FIELDS = frozenset({"key", "campid", "campaignId", "sid", "lead"})
_FIRST_QUARANTINE_ID = 2_932_682
# Apart from the submitted ones, whose stories must not depend on which magic IDs are polled in between.
_FIRST_CONJURED = 50_000_000


class Ledger:
    """All leads of all accounts; `read_clock` gives the sandbox's Unix seconds."""

    def __init__(self, settings: SandboxSettings, read_clock: Callable[[], float]) -> None:
        self._settings = settings
        self._read_clock = read_clock
        self._deck = StoryDeck(settings.story_weights(), settings.seed)
        self._ids = random.Random(f"{settings.seed}:ids")
        self._submitted = itertools.count(1)
        self._conjured = itertools.count(_FIRST_CONJURED)
        self._quarantine_ids = itertools.count(_FIRST_QUARANTINE_ID)
        self._leads: dict[tuple[str, str], Lead] = {}
        self.held: dict[int, Lead] = {}

    def __len__(self) -> int:
        return len(self._leads)

    def submit_lead(self, account: str, submitted: dict[str, Any]) -> Lead:
        """Queue one submitted lead and draw its story."""
        now, number = self._read_clock(), next(self._submitted)
        story = self._deck.deal_story()
        chance = random.Random(f"{self._settings.seed}:{number}")
        campaign_id = submitted.get("campid", submitted.get("campaignId"))
        lead = Lead(
            queue_id=self._draw_unused_id(account, now),
            account=account,
            story=story,
            fields=_pick_fields(submitted),
            submitted_at=now,
            outcome=draw_outcome(chance, story, number, campaign_id=campaign_id, sid=submitted.get("sid")),
            ahead=draw_waits(chance, story, self._settings),
        )
        if self._settings.live_buyer_responses:
            lead.ahead[:1] = [(0.0, stage) for _, stage in lead.ahead[:1]]
        return self._record(lead)

    def find_lead(self, account: str, queue_id: str) -> Lead | None:
        """The lead of a queue ID; a magic one comes into being when first asked for."""
        return self._leads.get((account, queue_id)) or self._conjure_lead(account, queue_id)

    def list_leads(self) -> list[Lead]:
        """Every lead, oldest first."""
        return list(self._leads.values())

    def assign_quarantine_id(self, lead: Lead) -> None:
        """Give a lead that is to be held (again) an ID of its own."""
        lead.quarantine_id = next(self._quarantine_ids)
        self.held[lead.quarantine_id] = lead

    def _draw_unused_id(self, account: str, now: float) -> str:
        queue_id = draw_queue_id(self._ids, now)
        return queue_id if (account, queue_id) not in self._leads else self._draw_unused_id(account, now)

    def _conjure_lead(self, account: str, queue_id: str) -> Lead | None:
        magic = read_magic(queue_id) if _QUEUE_ID.fullmatch(queue_id) else None
        if magic is None:
            return None
        story, now = STORIES[magic.story], self._read_clock()
        # Steps of a magic story keep exact time: tests step the clock by the median, not by luck.
        waits = [median_wait(stage, self._settings) for stage in story.stages]
        lead = Lead(
            queue_id=queue_id,
            account=account,
            story=story,
            fields={"firstname": "Magic", "email": f"{queue_id}@example.com"},
            submitted_at=now,
            outcome=draw_outcome(random.Random(queue_id), story, next(self._conjured)),
            ahead=list(zip([float(magic.after), *waits[1:]], story.stages, strict=False)),
            fault=magic.fault,
            faults_left=magic.times,
        )
        return self._record(lead)

    def _record(self, lead: Lead) -> Lead:
        if Stage.QUARANTINED in lead.story.stages:
            self.assign_quarantine_id(lead)
        lead.plan_moves(lead.submitted_at)
        self._leads[lead.account, lead.queue_id] = lead
        return lead


def _pick_fields(submitted: dict[str, Any]) -> dict[str, Any]:
    """The lead's own data, without key and routing."""
    nested = submitted.get("lead")
    own = {name: value for name, value in submitted.items() if name not in _ROUTING_FIELDS}
    return {**own, **nested} if isinstance(nested, dict) else own
