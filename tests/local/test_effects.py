"""What agrees and what does not between the ledger of actions and LeadByte's log of what took effect."""

from __future__ import annotations

from typing import Any

import pytest

from worker.local.effects import find_wrong_effects

SENT = "2026-01-02 03:04:05+00"


def effect(action: str, *fields: str, by: str = "api", held: int = 71) -> dict[str, Any]:
    return {"quarantine_id": held, "action": action, "by": by, **({"fields": list(fields)} if fields else {})}


def entry(action: str, state: str, *fields: str, sent_at: str | None = SENT) -> dict[str, Any]:
    names = {"action_id": 5, "quarantine_id": "71", "action": action, "action_state": state}
    return {**names, "fields": list(fields), "sent_at": sent_at}


@pytest.mark.parametrize(
    ("log", "ledger"),
    [
        ([], []),
        ([effect("process")], [entry("release", "confirmed")]),
        ([effect("reject")], [entry("reject", "acknowledged")]),
        ([effect("update", "a", "b"), effect("process")], [entry("release", "confirmed", "b", "a")]),
        ([effect("update", "a")], [entry("update", "confirmed", "a")]),
        ([effect("process", by="person")], [entry("release", "confirmed", "a")]),  # whose doing can't always be told
        ([effect("process", by="person")], [entry("reject", "refused", sent_at=None)]),
        ([effect("process")], [entry("release", "unsure")]),
        ([effect("update", "a")], [entry("release", "refused", "a")]),  # updated, but not released
        ([effect("process")], [entry("release", "refused"), entry("release", "confirmed")]),  # asked for anew
        ([], [entry("release", "requested", sent_at=None), entry("reject", "refused", sent_at=None)]),
    ],
)
def test_what_took_effect_as_the_ledger_says_is_no_difference(
    log: list[dict[str, Any]], ledger: list[dict[str, Any]]
) -> None:
    assert list(find_wrong_effects(log, ledger)) == []


@pytest.mark.parametrize(
    ("log", "ledger", "said"),
    [
        ([effect("process")], [], "release of 71 took effect 1 times; by the ledger, 0 times at most"),
        ([effect("process")], [entry("release", "requested", sent_at=None)], "took effect 1 times"),
        ([effect("process")], [entry("reject", "sent")], "release of 71 took effect 1 times"),
        ([effect("process")] * 2, [entry("release", "confirmed")], "took effect 2 times"),
        ([effect("update", "a")] * 2, [entry("update", "confirmed", "a")], "update of 71 (a) took effect 2 times"),
        ([effect("process", held=72)], [entry("release", "acknowledged")], "release of 72 took effect 1 times"),
        ([], [entry("release", "confirmed")], "action 5, release of 71, is confirmed, but release of 71 took no"),
        ([effect("process")], [entry("release", "confirmed", "a")], "but update of 71 (a) took no effect"),
        ([effect("reject")], [entry("reject", "refused")], "reject of 71 took effect 1 times"),
        ([], [entry("reject", "acknowledged", sent_at=None)], "is acknowledged, but was never sent"),
    ],
)
def test_each_effect_the_ledger_does_not_bear_out_is_told(
    log: list[dict[str, Any]], ledger: list[dict[str, Any]], said: str
) -> None:
    assert any(said in line for line in find_wrong_effects(log, ledger))
