"""The step after a poll: who pays for what, when we look again, when we give up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from worker.domain.backoff import FAILURE_CAP, JITTER, UNKNOWN_STATUS_GAP, LadderSchedule
from worker.domain.classify import Meaning, Reading
from worker.domain.decide import (
    MAKE_ROOM,
    RECHECK_TRIES,
    SETTLE_GRACE,
    Policy,
    PolledLead,
    Step,
    decide_step,
    digest_reading,
)
from worker.domain.facts import Facts
from worker.domain.lifecycle import FINAL, OPEN, State

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = Policy(abandon_after=timedelta(days=7), not_found_grace=timedelta(hours=1), schedule=LadderSchedule())
MIDDLE = 0.5
NOT_THE_LEADS = {Meaning.THROTTLED, Meaning.REFUSED, Meaning.UNASKED}

chances = st.floats(0, 1, exclude_max=True)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 3, 2), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants its bounds without a zone
readings = st.builds(
    Reading,
    st.sampled_from(Meaning),
    st.text(max_size=20),
    st.none() | st.sampled_from(sorted(FINAL | OPEN)),
    st.builds(Facts, result_code=st.none() | st.integers(-100, 1)),
).map(lambda r: r if r.meaning is Meaning.TOLD else replace(r, state=None))


def leads_in(states: Iterable[State]) -> st.SearchStrategy[PolledLead]:
    return st.builds(
        PolledLead,
        st.sampled_from(sorted(states)),
        moments,
        st.integers(0, 10_000),
        st.none() | moments,
        st.none() | st.integers(-(2**63), 2**63 - 1),
    )


leads, final_leads = leads_in(set(State) - FINAL), leads_in(FINAL)


def step_after(lead: PolledLead, reading: Reading) -> Step:
    return decide_step(lead, reading, NOW, POLICY, MIDDLE)


def find_due(step: Step) -> datetime:
    assert step.next_poll_at is not None
    return step.next_poll_at


def watched_for(age: timedelta, **more: object) -> PolledLead:
    lead = PolledLead(State.QUEUED, NOW - age, failure_streak=0, not_found_since=None, told_digest=None)
    return replace(lead, **more)


@given(leads, readings, chances)
def test_we_always_look_again_later_unless_nothing_was_asked(lead: PolledLead, reading: Reading, chance: float) -> None:
    step = decide_step(lead, reading, NOW, POLICY, chance)
    if reading.meaning is Meaning.UNASKED:
        assert step.next_poll_at is None
    else:
        assert find_due(step) > NOW


@given(leads, readings, chances)
def test_a_poll_is_answered_or_failed_and_never_both(lead: PolledLead, reading: Reading, chance: float) -> None:
    step = decide_step(lead, reading, NOW, POLICY, chance)
    assert step.failed is (reading.meaning is Meaning.FAILED)
    assert step.answered is (reading.meaning not in {Meaning.FAILED, *NOT_THE_LEADS})
    assert step.note == ("" if reading.meaning is Meaning.UNASKED else reading.reason)


@given(leads, readings, chances)
def test_what_is_not_the_leads_affair_moves_nothing_of_it(lead: PolledLead, reading: Reading, chance: float) -> None:
    step = decide_step(lead, reading, NOW, POLICY, chance)
    if reading.meaning in NOT_THE_LEADS:
        again_at, note = (None, "") if reading.meaning is Meaning.UNASKED else (NOW + MAKE_ROOM, reading.reason)
        assert step == Step(again_at, not_found_since=lead.not_found_since, told_digest=lead.told_digest, note=note)


@given(leads, readings, chances)
def test_a_verdict_is_always_journalled_and_giving_up_throws_no_news_away(
    lead: PolledLead, reading: Reading, chance: float
) -> None:
    step = decide_step(lead, reading, NOW, POLICY, chance)
    if reading.state in FINAL:
        assert step.journalled
    patient = replace(POLICY, abandon_after=timedelta(days=10_000))
    assert step.journalled is decide_step(lead, reading, NOW, patient, chance).journalled
    assert not step.journalled or reading.meaning in {Meaning.TOLD, Meaning.UNKNOWN_STATUS}


@given(leads, readings, chances)
def test_a_step_that_is_repeated_journals_no_open_reply_twice(
    lead: PolledLead, reading: Reading, chance: float
) -> None:
    step = decide_step(lead, reading, NOW, POLICY, chance)
    again = decide_step(replace(lead, told_digest=step.told_digest), reading, NOW, POLICY, chance)
    assert again.journalled is (reading.state in FINAL)


@given(leads, readings, chances)
def test_a_lead_is_given_up_only_beyond_a_bound(lead: PolledLead, reading: Reading, chance: float) -> None:
    step = decide_step(lead, reading, NOW, POLICY, chance)
    is_old = NOW - lead.watched_since >= POLICY.abandon_after
    is_unknown = reading.meaning is Meaning.NOT_FOUND and NOW - (lead.not_found_since or NOW) >= POLICY.not_found_grace
    may_be_given_up = reading.meaning not in NOT_THE_LEADS and reading.state not in FINAL
    assert (step.abandoned_because is not None) is (may_be_given_up and (is_old or is_unknown))


@given(leads, readings, chances)
def test_only_not_found_starts_its_clock_and_only_a_record_stops_it(
    lead: PolledLead, reading: Reading, chance: float
) -> None:
    step = decide_step(lead, reading, NOW, POLICY, chance)
    if reading.meaning is Meaning.NOT_FOUND:
        assert step.not_found_since == (lead.not_found_since or NOW)
    elif step.answered:
        assert step.not_found_since is None
    else:
        assert step.not_found_since == lead.not_found_since


@given(leads, readings, chances)
def test_an_open_lead_gets_its_last_look_on_the_deadline(lead: PolledLead, reading: Reading, chance: float) -> None:
    step = decide_step(lead, reading, NOW, POLICY, chance)
    deadline = lead.watched_since + POLICY.abandon_after
    if reading.meaning in {Meaning.TOLD, Meaning.UNKNOWN_STATUS} and reading.state not in FINAL and deadline > NOW:
        assert find_due(step) <= deadline


@given(leads, chances)
def test_a_failure_is_asked_again_within_the_cap(lead: PolledLead, chance: float) -> None:
    step = decide_step(lead, Reading(Meaning.FAILED, "timeout"), NOW, POLICY, chance)
    assert find_due(step) <= NOW + FAILURE_CAP


@given(readings)
def test_a_digest_fits_a_bigint_and_changes_with_what_is_told(reading: Reading) -> None:
    digest = digest_reading(reading)
    assert -(2**63) <= digest < 2**63
    assert digest == digest_reading(replace(reading))
    assert digest != digest_reading(replace(reading, reason=f"{reading.reason}!"))


def test_a_lead_that_is_still_queued_is_snoozed_and_nothing_is_written_down() -> None:
    step = step_after(watched_for(timedelta(0)), Reading(Meaning.TOLD, "Queued", State.QUEUED))
    assert (step.next_poll_at, step.answered, step.failed, step.journalled) == (
        NOW + timedelta(seconds=2), True, False, False,
    )  # fmt: skip


@pytest.mark.parametrize("state", [State.PENDING, State.QUARANTINED])
def test_a_move_between_open_states_is_journalled_once(state: State) -> None:
    lead = watched_for(timedelta(seconds=5))
    reading = Reading(Meaning.TOLD, state.value, state)
    step = step_after(lead, reading)
    assert step.journalled
    assert not step_after(replace(lead, state=state, told_digest=step.told_digest), reading).journalled


def test_a_change_back_is_journalled_though_the_change_itself_waits_to_be_persisted() -> None:
    lead = watched_for(timedelta(seconds=5))
    held = step_after(lead, Reading(Meaning.TOLD, "Quarantined", State.QUARANTINED))
    queued = Reading(Meaning.TOLD, "Queued", State.QUEUED)
    released = step_after(replace(lead, told_digest=held.told_digest), queued)
    assert (held.journalled, released.journalled) == (True, True)
    assert not step_after(replace(lead, told_digest=released.told_digest), queued).journalled


def test_an_unknown_status_is_journalled_once_and_looked_at_slowly() -> None:
    lead = watched_for(timedelta(seconds=5))
    reading = Reading(Meaning.UNKNOWN_STATUS, "unknown status 'X'")
    step = step_after(lead, reading)
    assert step.journalled
    assert find_due(step) >= NOW + UNKNOWN_STATUS_GAP * (1 - JITTER)
    assert not step_after(replace(lead, told_digest=step.told_digest), reading).journalled


def test_a_verdict_is_asked_about_again_only_should_persisting_it_fail() -> None:
    step = step_after(watched_for(timedelta(days=30)), Reading(Meaning.TOLD, "Approved", State.APPROVED))
    assert (step.next_poll_at, step.abandoned_because) == (NOW + SETTLE_GRACE, None)


@pytest.mark.parametrize(
    ("hours", "said"),
    [(1.5, "90 min"), (7, "7 h"), (24 * 7, "7 days")],
)
@pytest.mark.parametrize(
    "reading",
    [
        Reading(Meaning.TOLD, "LeadByte says: Queued", State.QUEUED),
        Reading(Meaning.FAILED, "HTTP 503"),
        Reading(Meaning.UNKNOWN_STATUS, "unknown status 'X'"),
    ],
)
def test_a_lead_that_is_given_up_says_after_how_long_and_what_was_heard_last(
    hours: float, said: str, reading: Reading
) -> None:
    policy = replace(POLICY, abandon_after=timedelta(hours=hours))
    step = decide_step(watched_for(timedelta(hours=hours)), reading, NOW, policy, MIDDLE)
    assert step.abandoned_because is not None
    assert f"no verdict within {said}; " in step.abandoned_because
    assert reading.reason in step.abandoned_because


def test_not_found_is_tolerated_for_its_grace_and_then_given_up() -> None:
    reading = Reading(Meaning.NOT_FOUND, "LeadByte says: Not Found")
    fresh = step_after(watched_for(timedelta(seconds=3)), reading)
    assert (fresh.not_found_since, fresh.abandoned_because) == (NOW, None)
    stale = step_after(watched_for(timedelta(hours=2), not_found_since=NOW - POLICY.not_found_grace), reading)
    assert stale.abandoned_because == "LeadByte does not know this queue ID (not found for 60 min)"


@given(final_leads, readings, chances)
def test_a_final_lead_is_never_given_up_and_its_recheck_ends_with_any_answer(
    lead: PolledLead, reading: Reading, chance: float
) -> None:
    step = decide_step(lead, reading, NOW, POLICY, chance)
    assert step.abandoned_because is None
    is_last_try = reading.meaning is Meaning.FAILED and lead.failure_streak + 1 >= RECHECK_TRIES
    assert step.ends_recheck is (step.answered or is_last_try)


@given(final_leads, readings, chances)
def test_a_recheck_journals_what_is_new_once_and_what_it_knows_not_at_all(
    lead: PolledLead, reading: Reading, chance: float
) -> None:
    step = decide_step(lead, reading, NOW, POLICY, chance)
    is_record = reading.meaning in {Meaning.TOLD, Meaning.UNKNOWN_STATUS}
    assert step.journalled is (is_record and digest_reading(reading) != lead.told_digest)
    again = decide_step(replace(lead, told_digest=step.told_digest), reading, NOW, POLICY, chance)
    assert (again.journalled, again.told_digest) == (False, step.told_digest)


@given(final_leads, chances)
def test_nonsense_about_a_final_lead_is_kept_for_a_better_reader_once(lead: PolledLead, chance: float) -> None:
    nonsense = Reading(Meaning.FAILED, "an answer that is no JSON object", is_unreadable=True)
    step = decide_step(lead, nonsense, NOW, POLICY, chance)
    assert (step.journalled, step.failed) == (True, True)
    assert not decide_step(replace(lead, told_digest=step.told_digest), nonsense, NOW, POLICY, chance).journalled


@given(leads, readings, chances)
def test_an_open_lead_is_under_no_recheck(lead: PolledLead, reading: Reading, chance: float) -> None:
    assert not decide_step(lead, reading, NOW, POLICY, chance).ends_recheck


def test_a_clock_that_moves_while_the_lead_is_open_is_no_news() -> None:
    def read_at(state: State | None, minute: int) -> Reading:
        stamp = NOW + timedelta(minutes=minute)
        facts = Facts(lead_id="7", processed_at=stamp, processed_raw=stamp.isoformat())
        return Reading(Meaning.TOLD, "LeadByte says so", state, facts)

    lead = watched_for(timedelta(minutes=1), told_digest=digest_reading(read_at(State.PENDING, 0)))
    assert not step_after(lead, read_at(State.PENDING, 1)).journalled
    assert digest_reading(read_at(State.APPROVED, 0)) != digest_reading(read_at(State.APPROVED, 1))
