"""What one answer means for the lead it was asked about: a pure function from (queue ID, answer) to a `Reading`.

Sources are LeadByte's articles ("API Queue", "Result codes") where a line says *documented*, public client code where
it says *seen*. Nothing is final by guess: an unknown word keeps the lead open. Neighbours: `worker.domain.blocks` reads
the facts, `worker.domain.decide` says what happens next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from worker.domain.blocks import read_facts
from worker.domain.complaints import LONGEST_NOISE, NO_WORDS, Complaint, hear_complaint, strip_diagnostics
from worker.domain.facts import NOTHING_TOLD, Facts, derive_facts
from worker.domain.lifecycle import State
from worker.domain.quarantined import HOLD_WORDS, says_quarantined
from worker.domain.records import Found, find_records, names_another, pick_ours
from worker.domain.refusals import asks_to_log_in, asks_to_wait, refuses_key
from worker.domain.values import JSON, Block, fold_keys, read_word, read_wrapped_text


class Meaning(StrEnum):
    """What an answer is, before anybody asks what to do about it."""

    TOLD = "told"  # a record of our lead, in words we know
    NOT_FOUND = "not found"  # LeadByte does not know the queue ID (yet, or any more)
    UNKNOWN_STATUS = "unknown status"  # a record of our lead, with a status word we do not know
    FAILED = "failed"  # no usable answer: the lead's failure backoff
    UNASKED = "unasked"  # the request was never sent; no lead pays for it
    THROTTLED = "throttled"  # the account is asked to wait; no lead pays for it
    REFUSED = "refused"  # key or permission trouble: the account is paused; no lead pays for it


class Reading(Struct, frozen=True, gc=False):
    """One answer, understood. `state` None: open, which way is not told. `reason` is one line for people.

    `unknown_word` is the status word that we do not know, where there is one. `is_unreadable` says that something came
    with success that we can make nothing of: worth keeping for a better reader.
    """

    meaning: Meaning
    reason: str
    state: State | None = None
    facts: Facts = NOTHING_TOLD
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
    "processing": None,
    "processed": None,
}
NOT_FOUND_WORDS = frozenset({"notfound"})
_STATUS_NAMES = ("status", "queuestatus", "leadstatus", "recordstatus")
_RESPONSE_NAMES = ("response", "result", "details")
# Of what else is not found, a lead's being gone can't be concluded.
_OTHERS = ("account", "buyer", "campaign", "could", "endpoint", "host", "method", "page", "supplier")
_NOT_FOUND = re.compile(
    "".join(f"(?<!{other} )" for other in _OTHERS) + "not (be )?found"
    r"|\b(record|lead|queue|id|queue ?id)s? could not be found"
    r"|no (such )?(record|lead|queue|result|match)|(unknown|invalid) queue|does ?n.t exist",
    re.IGNORECASE,
)
_OK, _UNAUTHORIZED, _FORBIDDEN, _NO_SUCH, _TOO_MANY, _BROKEN = 200, 401, 403, 404, 429, 500


def classify_reply(queue_id: str, http_status: int, document: JSON, text: str = "") -> Reading:
    """What the answer to a poll of `queue_id` means.

    Args:
        queue_id: the lead asked about; a record of any other lead is never used.
        http_status: of the answer.
        document: the decoded JSON body, None where there was none.
        text: the body's beginning as text, used only where it was no JSON.
    """
    found = find_records(document, queue_id)
    complaint = hear_complaint(document, text, has_records=any(item.queue_id is not None for item in found))
    told = http_status if http_status >= 300 or complaint is None or complaint.code is None else complaint.code  # noqa: PLR2004
    if _TOO_MANY in {http_status, told} or (complaint is not None and asks_to_wait(complaint.words)):
        return Reading(Meaning.THROTTLED, _say_trouble(complaint, "HTTP 429, too many requests"))
    if {http_status, told} & {_UNAUTHORIZED, _FORBIDDEN}:
        return Reading(Meaning.REFUSED, _say_trouble(complaint, f"HTTP {http_status}"))
    if complaint is not None and (trouble := _classify_complaint(complaint, http_status, told)) is not None:
        return trouble
    if http_status >= _BROKEN:
        return Reading(Meaning.FAILED, f"HTTP {http_status}")
    if http_status == _NO_SUCH:
        return Reading(Meaning.NOT_FOUND, "HTTP 404, not found")
    if not _OK <= http_status < 300:  # noqa: PLR2004 - the 2xx range
        return Reading(Meaning.FAILED, f"HTTP {http_status}")
    return _classify_records(queue_id, found) if found else _classify_shapeless(document, text)


def _say_trouble(complaint: Complaint | None, otherwise: str) -> str:
    return otherwise if complaint is None or complaint.words == NO_WORDS else complaint.words


def _classify_complaint(complaint: Complaint, http_status: int, told: int) -> Reading | None:
    words = complaint.words
    # A code below 0 is LeadByte's verdict on a lead: "Supplier not authorised" (-7) says nothing about our key.
    if told >= 0 and refuses_key(words):
        return Reading(Meaning.REFUSED, words)
    if http_status >= _BROKEN:
        return None
    if told == _NO_SUCH or _NOT_FOUND.search(words):
        return Reading(Meaning.NOT_FOUND, words)
    return Reading(Meaning.FAILED, f"LeadByte answered an error: {words}") if complaint.is_error else None


def _classify_shapeless(document: JSON, text: str) -> Reading:
    stripped = strip_diagnostics(text[:LONGEST_NOISE]).strip()
    if document in ([], {}) or stripped in {"", "null"}:
        # Seen: parallel calls answered by silently empty 200s. It may be throttling, never "gone".
        return Reading(Meaning.FAILED, "an empty answer")
    if isinstance(document, dict):
        return _fail_to_read("an answer with no record")
    if stripped.startswith("<"):
        if asks_to_log_in(stripped):
            return Reading(Meaning.REFUSED, "a web page instead of an answer (login or suspended account?)")
        return Reading(Meaning.FAILED, "a web page instead of an answer")
    return _fail_to_read("an answer that is no JSON object")


def _fail_to_read(reason: str) -> Reading:
    return Reading(Meaning.FAILED, reason, is_unreadable=True)


def _classify_records(queue_id: str, found: list[Found]) -> Reading:
    ours = pick_ours(found, queue_id)
    if not ours:
        names_none = all(item.queue_id is None for item in found)
        which = "that name no lead" if names_none else "of other leads only"
        return _fail_to_read(f"an answer with records {which}")
    # What stands at the root can be attributed only where it can mean one lead alone.
    is_alone = len(ours) == len(found)
    readings = [_classify_record(queue_id, item.record, item.around if is_alone else {}) for item in ours]
    if any(reading != readings[0] for reading in readings):
        return _fail_to_read("an answer with records of this lead that contradict each other")
    return readings[0]


def _classify_record(queue_id: str, record: Block, around: Block) -> Reading:
    response = _open_response(record)
    said = _read_status(record) or _read_status(response)
    if read_word(said) in NOT_FOUND_WORDS:
        return Reading(Meaning.NOT_FOUND, "LeadByte says: Not Found")
    if names_another(record, queue_id) or names_another(response, queue_id):
        return _fail_to_read("an answer with a record that names two leads")
    facts = read_facts((record, response, around))
    word = _understand(said, facts)
    if word is None or word not in STATUS_WORDS:
        reason = "a record without a status" if said is None else f"unknown status {said[:60]!a}"
        return Reading(Meaning.UNKNOWN_STATUS, reason, facts=tell_acceptance(facts, None), unknown_word=said)
    state = _decide_state(word, facts)
    reason = f"LeadByte says: {word.capitalize()}" if said else f"LeadByte gives no status; by the rest it is {word}"
    return Reading(Meaning.TOLD, reason, state, tell_acceptance(facts, state))


def _understand(said: str | None, facts: Facts) -> str | None:
    """The status word in our spelling, or the one that the facts stand for where there is none."""
    is_held = facts.quarantine_id is not None and facts.lead_id is None
    if said is None:
        if facts.payout_pending or (facts.campaign_accepted and facts.result_code is not None):
            return "pending"  # documented in 2018 without a record status: payout, or code and lead ID, say so
        is_refused = facts.rejection_id is not None or facts.campaign_accepted is False
        return "quarantined" if is_held and not is_refused else None
    word = read_word(said)
    return "quarantined" if says_quarantined(said) or (is_held and word in HOLD_WORDS) else word


def _open_response(record: Block) -> Block:
    for name in _RESPONSE_NAMES:
        value = record.get(name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, dict):
            return fold_keys(value)
    return {}


def _read_status(place: Block) -> str | None:
    told = (read_wrapped_text(place.get(name)) for name in _STATUS_NAMES)
    return next((text for text in told if text is not None), None)


def _decide_state(word: str, facts: Facts) -> State | None:
    state = STATUS_WORDS[word]
    if state is State.APPROVED and facts.payout_pending:
        return State.PENDING  # accepted by the campaign, buyers still deciding: a billable lead has a payout
    if word == "processed":
        return _decide_processed(facts)
    if state is State.PENDING and facts.quarantine_id and not (facts.campaign_accepted or facts.payout_pending):
        return State.QUARANTINED  # a quarantined lead is "held pending" (documented): no campaign has it yet
    return state


def _decide_processed(facts: Facts) -> State | None:
    """`Processed` (seen) names no outcome; it is final only where the facts beside it do, with one voice."""
    was_refused = (facts.result_code is not None and facts.result_code < 0) or (
        facts.rejection_id is not None and facts.lead_id is None
    )
    was_sold = derive_facts(facts, State.PENDING).sold is True
    if was_refused is not was_sold:
        return State.REJECTED if was_refused else State.PENDING if facts.payout_pending else State.APPROVED
    if facts.lead_id is not None and not was_refused:
        return State.PENDING
    return State.QUARANTINED if facts.quarantine_id is not None and not (was_refused or was_sold) else None


def tell_acceptance(facts: Facts, state: State | None) -> Facts:
    """The facts, with what the state tells of the campaign's acceptance where they don't say it themselves."""
    accepted = _decide_acceptance(facts, state)
    return facts if accepted is facts.campaign_accepted else replace(facts, campaign_accepted=accepted)


def _decide_acceptance(facts: Facts, state: State | None) -> bool | None:
    """Whether the campaign took the lead.

    "Rejected" alone does not tell (refused, or accepted and unsold), nor does "Pending": on whom it waits is not said.
    """
    if facts.campaign_accepted is not None:
        return facts.campaign_accepted
    if state in {State.APPROVED, State.RETURNED} or (state is State.PENDING and facts.payout_pending):
        return True
    return False if facts.rejection_id is not None and facts.lead_id is None else None
