"""Which call is to go wrong, and how: scripted rules first, then what a magic queue ID asks for."""

from __future__ import annotations

from dataclasses import dataclass

from worker.sandbox.faults import FAULTS, Circumstances, Fault
from worker.sandbox.lead import Lead
from worker.sandbox.magic import Magic, read_magic, read_name
from worker.sandbox.settings import SandboxSettings


@dataclass(slots=True)
class Rule:
    """One scripted fault: which calls, what, and how often still (None: until cleared)."""

    match: str
    magic: Magic
    times_left: int | None
    turns: int = 0

    def applies_to(self, kind: str, targets: list[str]) -> bool:
        """`*` is every call, `@kind` every call of a kind, anything else the start of a queue or quarantine ID."""
        if self.times_left == 0:
            return False
        return self.match in {"*", f"@{kind}"} or any(target.startswith(self.match) for target in targets)


class Script:
    """The rules in force, oldest first."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._rules: list[Rule] = []
        self.root_url = ""

    def add_rule(self, match: str, fault: str, times: int | None) -> None:
        """Add a fault, named as in magic IDs with its options (`429-wait30`); ValueError if there is none such."""
        magic = read_name(fault)
        if magic is None or magic.fault is None:
            raise ValueError(f"no fault is called {fault!r}; `lead-resolver sandbox --stories` lists them")
        if times is not None and times < 0:
            raise ValueError(f"times must be 0 or more, not {times}")
        self._rules.append(Rule(match, magic, magic.times if times is None else times))

    def clear_rules(self) -> None:
        """Back to good behaviour."""
        self._rules.clear()

    def pick_fault(self, kind: str, targets: list[str], leads: list[Lead]) -> tuple[Fault, Circumstances] | None:
        """The fault this call meets, if any, counting it as played."""
        for rule in self._rules:
            if rule.applies_to(kind, targets):
                rule.times_left = None if rule.times_left is None else rule.times_left - 1
                rule.turns += 1
                return self._arrange(rule.magic, rule.turns - 1)
        return self._pick_magic_fault(leads)

    def _pick_magic_fault(self, leads: list[Lead]) -> tuple[Fault, Circumstances] | None:
        for lead in leads:
            if lead.fault is not None and lead.faults_left != 0:
                lead.faults_left = None if lead.faults_left is None else lead.faults_left - 1
                magic = read_magic(lead.queue_id)
                return self._arrange(magic, lead.polls) if magic else None
        return None

    def _arrange(self, magic: Magic, turn: int) -> tuple[Fault, Circumstances]:
        settings = self._settings
        circumstances = Circumstances(
            root_url=self.root_url,
            drip_seconds=settings.drip_seconds,
            slow_seconds=settings.slow_seconds,
            turn=turn,
            at=magic.at,
            wait=magic.wait,
        )
        return FAULTS[magic.fault or ""], circumstances
