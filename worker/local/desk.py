"""The person at the desk in the demo: acts on held leads as an operator would, by what the reports tell alone.

Neighbours: `worker.quarantine` takes the requests, `worker.local.demo` gives the operator a turn twice a second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle

from sqlalchemy import Engine, text

from worker.quarantine import request_actions, resolve
from worker.sandbox import SandboxClient
from worker.store.db import transaction

NAME = "demo"

_UNTOUCHED = text("""
    select quarantine_id, cycle from reporting.quarantine
    where account = :account and action_id is null and lead_state = 'quarantined' and quarantine_id is not null
    order by held_since
""")
# Due for nothing more by itself: somebody has to look in LeadByte.
_WAITING_FOR_A_PERSON = text("""
    select id, quarantine_id, kind, field_names from resolver.actions where state = 'unsure' and next_try_at is null
""")


@dataclass(frozen=True, slots=True)
class Decision:
    """What the operator does about a lead, and why."""

    action: str
    reason: str
    phone: str | None = None


COMPLETE = Decision("release", "phone number completed", "07700 900461")
RELEASE = Decision("release", "checked by hand, as it is")
REJECT = Decision("reject", "looks like a test entry")
# One after the other as leads are found held: so even a few show each of it. None: left for later.
FIRST_HOLD = (COMPLETE, REJECT, RELEASE, COMPLETE, None, RELEASE, COMPLETE, REJECT)
HELD_AGAIN = RELEASE


@dataclass(slots=True)
class Operator:
    """Decides about each hold once; `decided` has the quarantine IDs."""

    engine: Engine
    sandbox: SandboxClient
    account: str
    decided: set[str] = field(default_factory=set)
    _turns: Iterator[Decision | None] = field(default_factory=lambda: cycle(FIRST_HOLD))

    def take_turn(self) -> None:
        """Decide about the leads newly held, and say what became of actions nobody else can tell about."""
        for decision, held in self._decide().items():
            fields = None if decision.phone is None else {"phone1": decision.phone}
            request_actions(
                self.engine,
                self.account,
                decision.action,
                held,
                requested_by=NAME,
                fields=fields,
                reason=decision.reason,
            )
        self._resolve_unsure()

    def _decide(self) -> Mapping[Decision, list[str]]:
        with transaction(self.engine) as connection:
            untouched = connection.execute(_UNTOUCHED, {"account": self.account}).all()
        chosen = defaultdict(list)
        for row in untouched:
            if row.quarantine_id not in self.decided:
                self.decided.add(row.quarantine_id)
                decision = next(self._turns) if row.cycle == 1 else HELD_AGAIN
                if decision is not None:
                    chosen[decision].append(row.quarantine_id)
        return chosen

    def _resolve_unsure(self) -> None:
        """On a machine so busy that a request went unanswered: look in LeadByte, as the ledger asks a person to."""
        with transaction(self.engine) as connection:
            unsure = connection.execute(_WAITING_FOR_A_PERSON).all()
        if not unsure:
            return
        happened = {(str(effect["quarantine_id"]), effect["action"]) for effect in self.sandbox.actions()}
        for row in unsure:
            way = "process" if row.kind == "release" else row.kind
            is_done = (row.quarantine_id, way) in happened
            fields = dict.fromkeys(row.field_names, COMPLETE.phone or "")  # of which there is one, the phone number
            resolve(self.engine, row.id, happened=is_done, by=NAME, fields=None if is_done else fields)
