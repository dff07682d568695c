"""Did every action on a held lead take effect at LeadByte exactly as the ledger says? For the demo and the tests.

Neighbour: `worker.local.agreement` compares the leads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Effect = Mapping[str, Any]
Entry = Mapping[str, Any]
# What one can be told by at LeadByte: the hold it was about, which effect, and for an update which fields.
_Mark = tuple[str, str, tuple[str, ...]]

_WAYS_OUT = {"release": "process", "reject": "reject"}


def find_wrong_effects(effects: Iterable[Effect], ledger: Iterable[Entry]) -> Iterator[str]:
    """A line for each action that took effect otherwise than the ledger says; nothing if all agrees.

    Args:
        effects: the sandbox's log of what took effect, as `SandboxClient.actions` gives it.
        ledger: the rows of `reporting.quarantine` with an action, of the same account.
    """
    entries = list(ledger)
    by_us, by_anybody = Counter[_Mark](), Counter[_Mark]()
    for effect in effects:
        mark = (str(effect["quarantine_id"]), effect["action"], tuple(sorted(effect.get("fields", ()))))
        by_anybody[mark] += 1
        by_us[mark] += effect["by"] == "api"
    allowed = Counter(mark for entry in entries for mark in _list_allowed(entry))
    for mark, times in by_us.items():
        if times > allowed[mark]:
            yield f"{_say(mark)} took effect {times} times; by the ledger, {allowed[mark]} times at most"
    for entry in entries:
        yield from _find_wrong_outcome(entry, by_us, by_anybody)


def _find_wrong_outcome(entry: Entry, by_us: Counter[_Mark], by_anybody: Counter[_Mark]) -> Iterator[str]:
    *updates, decisive = _list_marks(entry)
    state, said = entry["action_state"], f"action {entry['action_id']}, {_say(decisive)}, is {entry['action_state']}"
    if state == "confirmed":
        # Where somebody in LeadByte may have been first, our own fields need not have arrived.
        expected = [*updates, decisive] if by_us[decisive] else [decisive]
        yield from (f"{said}, but {_say(mark)} took no effect" for mark in expected if not by_anybody[mark])
    if entry["sent_at"] is None and state not in {"requested", "refused"}:
        yield f"{said}, but was never sent"


def _list_allowed(entry: Entry) -> list[_Mark]:
    """The effects an action may have had: none before it was sent, nor the decisive one where it was refused."""
    if entry["sent_at"] is None:
        return []
    marks = _list_marks(entry)
    return marks[:-1] if entry["action_state"] == "refused" else marks


def _list_marks(entry: Entry) -> list[_Mark]:
    """The effects an action is to have, the decisive one last."""
    held, fields = str(entry["quarantine_id"]), tuple(sorted(entry["fields"] or ()))
    updates = [(held, "update", fields)] if fields else []
    way_out = _WAYS_OUT.get(entry["action"])
    return updates if way_out is None else [*updates, (held, way_out, ())]


def _say(mark: _Mark) -> str:
    held, action, fields = mark
    verb = {"process": "release"}.get(action, action)
    return f"{verb} of {held}" + (f" ({', '.join(fields)})" if fields else "")
