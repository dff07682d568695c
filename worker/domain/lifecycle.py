"""Which states a lead can be in, and what each may become: one table, read by code, SQL checks and the README.

A lease is no state: states say what is true of the lead; leases, counters and due times are mechanics beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """What is true of a lead; each value's comment says who brings a lead there."""

    QUEUED = "queued"  # intake, or redrive: LeadByte holds the queue ID and has given no verdict
    PENDING = "pending"  # a reply: accepted by the campaign, the buyers' verdict is open
    QUARANTINED = "quarantined"  # a reply: held until we, or somebody in LeadByte, release or reject it
    APPROVED = "approved"  # a reply: final, billable
    REJECTED = "rejected"  # a reply: final, refused by the campaign, or accepted and unsold
    RETURNED = "returned"  # a reply: final, a buyer gave it back
    ABANDONED = "abandoned"  # polling: we stopped asking, and `state_reason` says why


# By value: calling the class looks it up as well, at ten times the price.
STATES: Mapping[str, State] = MappingProxyType({state.value: state for state in State})
_S = State

MAY_BECOME: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        # Straight to returned: we looked so late that the approval before it was never seen.
        _S.QUEUED: frozenset({_S.PENDING, _S.QUARANTINED, _S.APPROVED, _S.REJECTED, _S.RETURNED, _S.ABANDONED}),
        _S.PENDING: frozenset({_S.APPROVED, _S.REJECTED, _S.RETURNED, _S.QUARANTINED, _S.ABANDONED}),
        # Back to queued: a release puts the lead through LeadByte's whole mill again.
        _S.QUARANTINED: frozenset({_S.QUEUED, _S.PENDING, _S.APPROVED, _S.REJECTED, _S.RETURNED, _S.ABANDONED}),
        _S.APPROVED: frozenset({_S.RETURNED}),
        # A rejected lead can be reprocessed or sold by hand in LeadByte.
        _S.REJECTED: frozenset({_S.APPROVED, _S.RETURNED}),
        # A return can be refused by the supplier's manager, which makes the lead billable again.
        _S.RETURNED: frozenset({_S.APPROVED}),
        # Only by redrive: a person says "ask again".
        _S.ABANDONED: frozenset({_S.QUEUED}),
    }
)

FINAL = frozenset({State.APPROVED, State.REJECTED, State.RETURNED})
OPEN = frozenset({State.QUEUED, State.PENDING, State.QUARANTINED})


def may_become(old: State, new: State) -> bool:
    """Whether a lead in `old` may move to `new`; staying is no move."""
    return new in MAY_BECOME[old]
