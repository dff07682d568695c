"""The ordinary verdict, told from its outside: polling needs to know no more of it than that it is one.

A verdict of the documented shape is journalled whatever else it says, and persistence reads its facts; so polling can
leave them unread. Whatever is not exactly of that shape is left to `worker.domain.classify`, with which every reading
here agrees in meaning, state and reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from worker.domain.classify import Meaning, Reading
from worker.domain.lifecycle import State
from worker.domain.values import JSON

# The documented spelling alone; any other is read with care.
_VERDICTS: Mapping[str, State] = MappingProxyType(
    {"Approved": State.APPROVED, "Rejected": State.REJECTED, "Returned": State.RETURNED}
)
_READINGS: Mapping[str, Reading] = MappingProxyType(
    {word: Reading(Meaning.TOLD, f"LeadByte says: {word}", state) for word, state in _VERDICTS.items()}
)
_ROOT = frozenset({"status", "code", "message", "records"})
_BLOCKS = frozenset({"buyers", "buyer", "deliveries", "delivery", "campaign", "supplier", "lead"})
_RECORD = frozenset({"queueId", "status", "processed", "response"}) | _BLOCKS
_RESPONSE = (
    frozenset({"code", "response", "info", "leadId", "rejectionId", "processTime", "timestamp", "payout"}) | _BLOCKS
)
_OK = 200


def triage_reply(queue_id: str, http_status: int, document: JSON) -> Reading | None:
    """The reading of an ordinary verdict about `queue_id`, its facts left unread; None for every other answer."""
    if http_status != _OK or not isinstance(document, dict) or not document.keys() <= _ROOT:
        return None
    records = document.get("records")
    if document.get("status") != "Success" or document.get("code") != 1 or document.get("message") not in {"OK", ""}:
        return None
    if not isinstance(records, list) or len(records) != 1 or not isinstance(record := records[0], dict):
        return None
    response = record.get("response")
    if not isinstance(response, dict) or not record.keys() <= _RECORD or not response.keys() <= _RESPONSE:
        return None
    if record.get("queueId") != queue_id or not _is_settled(response.get("payout")):
        return None
    word = record.get("status")
    return _READINGS.get(word) if isinstance(word, str) else None


def _is_settled(payout: JSON) -> bool:
    """Whether the payout is told as a number, or not at all: "Pending" keeps an approval open."""
    return payout is None or (isinstance(payout, str) and payout.replace(".", "", 1).isdecimal())
