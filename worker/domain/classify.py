"""What one answer means for the lead it was asked about: a pure function from (queue ID, answer) to a `Reading`.

Sources are LeadByte's articles ("API Queue", "Result codes") where a line says *documented*, public client code where
it says *seen*. Nothing is final by guess: an unknown word keeps the lead open. Neighbours: `worker.domain.blocks` reads
the facts, `worker.domain.decide` says what happens next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from worker.domain.blocks import Block, fold_keys, read_facts
from worker.domain.facts import Facts
from worker.domain.lifecycle import State
from worker.domain.refusals import asks_to_log_in, refuses_key
from worker.domain.values import JSON, read_text, read_word


class Meaning(StrEnum):
    """What an answer is, before anybody asks what to do about it."""

    TOLD = "told"  # a record of our lead, in words we know
    NOT_FOUND = "not found"  # LeadByte does not know the queue ID (yet, or any more)
    UNKNOWN_STATUS = "unknown status"  # a record of our lead, with a status word we do not know
    FAILED = "failed"  # no usable answer: the lead's failure backoff
    UNASKED = "unasked"  # the request was never sent; no lead pays for it
    THROTTLED = "throttled"  # the account is asked to wait; no lead pays for it
    REFUSED = "refused"  # key or permission trouble: the account is paused; no lead pays for it


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer, understood. `state` None: open, which way is not told. `reason` is one line for people.

    `unknown_word` is the status word that we do not know, where there is one. `is_unreadable` says that something came
    with success that we can make nothing of: worth keeping for a better reader.
    """

    meaning: Meaning
    reason: str
    state: State | None = None
    facts: Facts = field(default_factory=Facts)
    unknown_word: str | None = None
    is_unreadable: bool = False


# Documented: Approved, Rejected, Queued. Seen: Pending, Processed, Not Found. The others are plausible (inferred).
STATUS_WORDS: Mapping[str, State | None] = {
    "approved": State.APPROVED,
    "rejected": State.REJECTED,
    "returned": State.RETURNED,
    "queued": State.QUEUED,
    "pending": State.PENDING,
    "quarantined": State.QUARANTINED,
    "quarantine": State.QUARANTINED,
    "processing": None,
    "processed": None,
}
NOT_FOUND_WORDS = frozenset({"notfound"})
ERROR_WORDS = frozenset({"error", "failed", "fail", "failure"})

# Limits are undocumented; should they be told in words, they are no fault of the key or the lead.
_TOO_FAST = re.compile(r"too many requests|rate[ -]?limit|throttl|too (fast|often)", re.IGNORECASE)
_NOT_FOUND = re.compile(r"not found|no (such )?(record|lead|queue)|unknown queue|does ?n.t exist", re.IGNORECASE)
_OK, _UNAUTHORIZED, _FORBIDDEN, _NO_SUCH, _TOO_MANY, _BROKEN = 200, 401, 403, 404, 429, 500


def classify_reply(queue_id: str, http_status: int, document: JSON, text: str = "") -> Reading:
    """What the answer to a poll of `queue_id` means.

    Args:
        queue_id: the lead asked about; a record of any other lead is never used.
        http_status: of the answer.
        document: the decoded JSON body, None where there was none.
        text: the body's beginning as text, used only where it was no JSON.
    """
    root = fold_keys(document)
    complaint = _read_complaint(root)
    if http_status in {_UNAUTHORIZED, _FORBIDDEN}:
        return Reading(Meaning.REFUSED, complaint or f"HTTP {http_status}")
    if http_status == _TOO_MANY or _TOO_FAST.search(complaint or ""):
        return Reading(Meaning.THROTTLED, complaint or "HTTP 429, too many requests")
    if complaint is not None and (http_status < _BROKEN or refuses_key(complaint)):
        return _classify_complaint(complaint, http_status)
    if http_status >= _BROKEN:
        return Reading(Meaning.FAILED, f"HTTP {http_status}")
    if http_status == _NO_SUCH:
        return Reading(Meaning.NOT_FOUND, "HTTP 404, not found")
    if not _OK <= http_status < 300:  # noqa: PLR2004 - the 2xx range
        return Reading(Meaning.FAILED, f"HTTP {http_status}")
    if not root:
        return _classify_shapeless(document, text)
    return _classify_document(queue_id, root)


def _read_complaint(root: Block) -> str | None:
    """LeadByte's own words where the root says Error; seen with a message, errors, or both, also on HTTP 200."""
    if read_word(root.get("status")) not in ERROR_WORDS:
        return None
    errors = root.get("errors")
    listed = errors if isinstance(errors, list) else [errors]
    words = [read_text(root.get("message")), *(read_text(_say_error(item)) for item in listed[:5])]
    return "; ".join(dict.fromkeys(word for word in words if word)) or "status Error without a message"


def _say_error(item: JSON) -> JSON:
    inner = fold_keys(item)
    return inner.get("message") or inner.get("error") if inner else item


def _classify_complaint(complaint: str, http_status: int) -> Reading:
    if refuses_key(complaint):
        return Reading(Meaning.REFUSED, complaint)
    if _NOT_FOUND.search(complaint) or http_status == _NO_SUCH:
        return Reading(Meaning.NOT_FOUND, complaint)
    return Reading(Meaning.FAILED, f"LeadByte answered an error: {complaint}")


def _classify_shapeless(document: JSON, text: str) -> Reading:
    stripped = text.strip()
    if not stripped or document in ([], {}) or stripped == "null":
        # Seen: parallel calls answered by silently empty 200s. It may be throttling, never "gone".
        return Reading(Meaning.FAILED, "an empty answer")
    if stripped.startswith("<"):
        if asks_to_log_in(stripped):
            return Reading(Meaning.REFUSED, "a web page instead of an answer (login or suspended account?)")
        return Reading(Meaning.FAILED, "a web page instead of an answer")
    return _fail_to_read("an answer that is no JSON object")


def _fail_to_read(reason: str) -> Reading:
    return Reading(Meaning.FAILED, reason, is_unreadable=True)


def _classify_document(queue_id: str, root: Block) -> Reading:
    records = _list_records(root)
    ours = [record for record in records if read_text(record.get("queueid") or record.get("queueref")) == queue_id]
    if not ours:
        what = "records of other leads only" if records else "no record"
        return _fail_to_read(f"an answer with {what}")
    # What stands at the root can be attributed only where it can mean one lead alone.
    shared = root if len(records) == 1 else {}
    readings = [_classify_record(record, shared) for record in ours]
    if any(reading != readings[0] for reading in readings):
        return _fail_to_read("an answer with records of this lead that contradict each other")
    return readings[0]


def _list_records(root: Block) -> list[Block]:
    found = root.get("records")
    if found is None:
        found = root.get("results")  # documented for the submission; accepted here as well
    if isinstance(found, dict):
        found = [found] if "queueid" in fold_keys(found) or "queueref" in fold_keys(found) else list(found.values())
    if found is None:
        found = [dict(root)]  # a bare record
    return [fold_keys(item) for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _classify_record(record: Block, root: Block) -> Reading:
    word = read_word(record.get("status"))
    if word in NOT_FOUND_WORDS:
        return Reading(Meaning.NOT_FOUND, "LeadByte says: Not Found")
    around = {name: value for name, value in root.items() if name not in {"status", "code", "message"}}
    facts = read_facts((record, fold_keys(record.get("response")), around))
    if word is None and facts.payout_pending:
        word = "pending"  # documented in 2018 without a record status: the payout alone says so
    if word is None or word not in STATUS_WORDS:
        said = read_text(record.get("status"))
        reason = "a record without a status" if said is None else f"unknown status {said[:60]!a}"
        return Reading(Meaning.UNKNOWN_STATUS, reason, facts=_tell_acceptance(facts, None), unknown_word=said)
    state = _decide_state(word, facts)
    return Reading(Meaning.TOLD, f"LeadByte says: {word.capitalize()}", state, _tell_acceptance(facts, state))


def _decide_state(word: str, facts: Facts) -> State | None:
    state = STATUS_WORDS[word]
    if state is State.APPROVED and facts.payout_pending:
        return State.PENDING  # accepted by the campaign, buyers still deciding: a billable lead has a payout
    if word == "processed":
        return _decide_processed(facts)
    return state


def _decide_processed(facts: Facts) -> State | None:
    """`Processed` (seen) names no outcome; it is final only where the facts beside it do."""
    if facts.result_code is not None and facts.result_code < 0:
        return State.REJECTED
    if any(buyer.bought for buyer in facts.buyers or ()):
        return State.APPROVED
    return State.PENDING if facts.lead_id is not None else None


def _tell_acceptance(facts: Facts, state: State | None) -> Facts:
    return replace(facts, campaign_accepted=_decide_acceptance(facts, state))


def _decide_acceptance(facts: Facts, state: State | None) -> bool | None:
    """Whether the campaign took the lead; "Rejected" alone does not tell (refused, or accepted and unsold)."""
    if facts.lead_id is not None and (facts.result_code is None or facts.result_code > 0):
        return True
    if facts.result_code is not None and facts.result_code < 0:
        return False
    if state in {State.APPROVED, State.RETURNED, State.PENDING}:
        return True
    return False if facts.rejection_id is not None and facts.lead_id is None else None
