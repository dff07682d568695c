"""What happens to a lead after one poll: a pure function from (lead, reading, moment) to a `Step`.

The one place where "not yet", "failed", "not ours to pay for" and "give up" are told apart. Neighbours:
`worker.domain.classify` made the reading, `worker.polling` carries the step out.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b

from msgspec import Struct
from msgspec.structs import replace

from worker.domain.backoff import UNKNOWN_STATUS_GAP, Schedule, delay_after_failure, delay_after_not_yet, spread
from worker.domain.classify import Meaning, Reading
from worker.domain.facts import NOTHING_TOLD, Facts
from worker.domain.lifecycle import FINAL, State

# A lead with a verdict stops being watched when the verdict is persisted, a second or so later; one that is abandoned,
# in the same transaction. Should either fail, the lead is simply asked about again after this: none waits on a message.
SETTLE_GRACE = timedelta(minutes=5)
MAKE_ROOM = timedelta(seconds=30)
# A re-check that fails can wait: so long apart that the tries stay within the share of the budget that re-checks have.
RECHECK_RETRY = timedelta(minutes=5)
RECHECK_TRIES = 3


class PolledLead(Struct, frozen=True, gc=False):
    """What the decision needs to know of a lead."""

    state: State
    watched_since: datetime
    failure_streak: int
    not_found_since: datetime | None
    told_digest: int | None
    is_hurried: bool = False  # held, and acted upon a while ago: what becomes of it shows soon


class Policy(Struct, frozen=True):
    """The settings that bound patience, and the schedule of "not yet"."""

    abandon_after: timedelta
    not_found_grace: timedelta
    schedule: Schedule


class Step(Struct, frozen=True, gc=False):
    """What to write about a lead after a poll.

    `next_poll_at` None: it was not asked about, and keeps its place among those that are due. `abandoned_because` set:
    we stop asking. `ends_recheck`: the lead was final before, and we have looked again.
    """

    next_poll_at: datetime | None
    answered: bool = False
    failed: bool = False
    journalled: bool = False
    not_found_since: datetime | None = None
    told_digest: int | None = None
    abandoned_because: str | None = None
    ends_recheck: bool = False
    note: str = ""
    told: bool = False  # a record in words we know: whatever LeadByte has done shows in it


def decide_step(lead: PolledLead, reading: Reading, now: datetime, policy: Policy, chance: float) -> Step:
    """The step after `reading`; `chance` in [0, 1) picks the jitter."""
    if reading.meaning is Meaning.TOLD and lead.state not in FINAL:
        return _step_after_record(lead, reading, now, policy, chance)  # nearly all
    if reading.meaning is Meaning.UNASKED:
        return leave_alone(lead)
    if reading.meaning in {Meaning.THROTTLED, Meaning.REFUSED}:
        # Not the lead's affair (the account is paused): none of its counters move. It makes room, though, lest the next
        # probe be about it again, should the trouble be its own after all.
        return replace(leave_alone(lead), next_poll_at=now + MAKE_ROOM, note=reading.reason)
    if lead.state in FINAL:
        return _step_after_recheck(lead, reading, now, chance)
    if reading.meaning is Meaning.FAILED:
        return _step_after_failure(lead, reading, now, policy, chance)
    if reading.meaning is Meaning.NOT_FOUND:
        return _step_after_not_found(lead, reading, now, policy, chance)
    return _step_after_record(lead, reading, now, policy, chance)


def leave_alone(lead: PolledLead) -> Step:
    """The step that changes nothing of a lead: it is as due as it was."""
    return Step(None, not_found_since=lead.not_found_since, told_digest=lead.told_digest)


def digest_reading(reading: Reading) -> int:
    """A number that changes when what LeadByte tells changes; fits Postgres' bigint.

    While the lead is open a stamp is the clock of the answer, which moves with every poll and tells nothing.
    """
    if reading.facts is NOTHING_TOLD:
        return _digest_bare(reading.meaning, reading.reason, reading.state)
    return _digest(reading.meaning, reading.reason, reading.state, _stop_clock(reading))


@lru_cache(256)  # the readings of ordinary answers, which are nearly all
def _digest_bare(meaning: Meaning, reason: str, state: State | None) -> int:
    return _digest(meaning, reason, state, NOTHING_TOLD)


def _digest(*told: object) -> int:
    said = repr(told).encode()
    return int.from_bytes(blake2b(said, digest_size=8).digest(), "big", signed=True)


def _step_after_recheck(lead: PolledLead, reading: Reading, now: datetime, chance: float) -> Step:
    """A final lead was looked at again: whatever came of it, it stays final, and is left alone until the next look."""
    has_failed = reading.meaning is Meaning.FAILED
    says_nothing = reading.meaning is Meaning.NOT_FOUND or (has_failed and not reading.is_unreadable)
    digest = lead.told_digest if says_nothing else digest_reading(reading)
    return Step(
        now + spread(RECHECK_RETRY, chance),
        answered=not has_failed,
        failed=has_failed,
        journalled=digest != lead.told_digest,
        not_found_since=lead.not_found_since,
        told_digest=digest,
        ends_recheck=not has_failed or lead.failure_streak + 1 >= RECHECK_TRIES,
        note=reading.reason,
    )


def _stop_clock(reading: Reading) -> Facts:
    facts = reading.facts
    if reading.state in FINAL:
        return facts
    return replace(facts, processed_at=None, processed_raw=None) if facts.processed_raw is not None else facts


def _step_after_record(lead: PolledLead, reading: Reading, now: datetime, policy: Policy, chance: float) -> Step:
    digest = digest_reading(reading)
    is_news = digest != lead.told_digest and not _says_nothing_new(lead, reading)
    later = now + SETTLE_GRACE
    told = reading.meaning is Meaning.TOLD
    if reading.state in FINAL:
        return Step(later, answered=True, journalled=True, told_digest=digest, note=reading.reason, told=told)
    deadline = lead.watched_since + policy.abandon_after
    if now >= deadline:
        because = f"no verdict within {_say_duration(policy.abandon_after)}; {reading.reason}"
        return Step(
            later,
            answered=True,
            journalled=is_news,
            told_digest=digest,
            abandoned_because=because,
            note=reading.reason,
            told=told,
        )
    slowest = UNKNOWN_STATUS_GAP if reading.meaning is Meaning.UNKNOWN_STATUS else None
    delay = delay_after_not_yet(
        policy.schedule,
        now - lead.watched_since,
        reading.state or lead.state,
        slowest=slowest,
        chance=chance,
        is_hurried=lead.is_hurried,
    )
    return Step(
        min(now + delay, deadline),  # one last look falls on the deadline itself, rather than up to an hour after it
        answered=True,
        journalled=is_news,
        told_digest=digest,
        note=reading.reason,
        told=told,
    )


def _says_nothing_new(lead: PolledLead, reading: Reading) -> bool:
    # Only at first: once something was told, the state at hand may lag behind it, and "queued" be a change back.
    is_first = lead.told_digest is None
    return (
        is_first
        and reading.state in {lead.state, None}
        and _stop_clock(reading) == NOTHING_TOLD
        and reading.meaning is Meaning.TOLD
    )


def _step_after_not_found(lead: PolledLead, reading: Reading, now: datetime, policy: Policy, chance: float) -> Step:
    since = lead.not_found_since or now
    if now - since >= policy.not_found_grace or _is_too_old(lead, now, policy):
        because = f"LeadByte does not know this queue ID (not found for {_say_duration(now - since)})"
        return Step(
            now + SETTLE_GRACE, answered=True, not_found_since=since, abandoned_because=because, note=reading.reason
        )
    delay = delay_after_not_yet(policy.schedule, now - since, lead.state, slowest=None, chance=chance)
    return Step(now + delay, answered=True, not_found_since=since, told_digest=lead.told_digest, note=reading.reason)


def _step_after_failure(lead: PolledLead, reading: Reading, now: datetime, policy: Policy, chance: float) -> Step:
    delay = delay_after_failure(lead.failure_streak + 1, chance)
    # Kept for a better reader; the same nonsense again is not kept again.
    digest = digest_reading(reading) if reading.is_unreadable else lead.told_digest
    step = Step(
        now + delay,
        failed=True,
        journalled=digest != lead.told_digest,
        not_found_since=lead.not_found_since,
        told_digest=digest,
        note=reading.reason,
    )
    if not _is_too_old(lead, now, policy):
        return step
    because = f"no verdict within {_say_duration(policy.abandon_after)}; last poll: {reading.reason}"
    return replace(step, abandoned_because=because)


def _is_too_old(lead: PolledLead, now: datetime, policy: Policy) -> bool:
    return now - lead.watched_since >= policy.abandon_after


def _say_duration(duration: timedelta) -> str:
    minutes = duration.total_seconds() / 60
    if minutes < 120:  # noqa: PLR2004 - two hours
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} days"
