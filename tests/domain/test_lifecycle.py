"""The lifecycle, entry by entry as the design's table has it."""

from __future__ import annotations

import pytest

from worker.domain.lifecycle import FINAL, MAY_BECOME, OPEN, State, may_become

TABLE = {
    "queued": "pending quarantined approved rejected abandoned",
    "pending": "approved rejected quarantined abandoned",
    "quarantined": "queued pending approved rejected abandoned",
    "approved": "returned",
    "rejected": "approved returned",
    "returned": "approved",
    "abandoned": "queued",
}
# Looked at so late that the approval before the return was never seen.
MISSED_APPROVAL = {(State.QUEUED, State.RETURNED), (State.PENDING, State.RETURNED), (State.QUARANTINED, State.RETURNED)}


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", State)
def test_each_entry_of_the_table_is_so(old: State, new: State) -> None:
    expected = new.value in TABLE[old].split() or (old, new) in MISSED_APPROVAL
    assert may_become(old, new) is expected


def test_every_state_has_its_row_and_its_kind() -> None:
    assert set(MAY_BECOME) == set(State) == FINAL | OPEN | {State.ABANDONED}
    assert not FINAL & OPEN


def test_staying_is_no_move() -> None:
    assert not any(may_become(state, state) for state in State)


def test_every_open_lead_can_be_given_up_and_no_final_one() -> None:
    assert {state for state in State if may_become(state, State.ABANDONED)} == OPEN


def test_nothing_final_opens_again() -> None:
    assert not any(may_become(old, new) for old in FINAL for new in OPEN)
