"""Lanes: how the batches of one account share permits and room, and when the next one is claimed."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.accounts import Account
from worker.asking import SETTLE_SOON_SECONDS, Batch
from worker.domain.answers import NoAnswer, Silence
from worker.domain.decide import PolledLead
from worker.domain.lifecycle import State
from worker.lane import HELD_UP_SECONDS, Lane, Lanes
from worker.leadbyte.client import Question
from worker.store.claims import Claim, ClaimedLead
from worker.store.moments import Wanted
from worker.store.settling import Release

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT = Account("sandbox", "http://127.0.0.1:1", "query", 5.0, 4)
OTHER = Account("other", "http://127.0.0.1:1", "query", 5.0, 4)


def open_batch(claim_id: int, leads: int, permits: int, *, with_moment: int = 0, borne: int = 4) -> Batch:
    watch = PolledLead(State.QUEUED, NOW, 0, None, None)
    claimed = tuple(
        ClaimedLead(claim_id * 1000 + n, f"lead-{n}", watch, timedelta(0) if n < with_moment else None)
        for n in range(leads)
    )
    return Batch(ACCOUNT, Claim(claim_id, permits, claimed, borne=borne), NOW, time.monotonic())


def open_lane(*batches: Batch) -> Lane:
    lane = Lane(0, ACCOUNT)
    for batch in batches:
        lane.add(batch)
    return lane


def answer(lane: Lane, batch: Batch, count: int, *, took: float = 0.0) -> None:
    """The first leads of the batch that are to be answered are."""
    for lead_id in list(batch.unanswered)[:count]:
        if batch.waiting and batch.waiting[0].lead_id == lead_id:
            batch.waiting.popleft()
        lane.take_answer(Question(lead_id, "lead", 0.0, batch.claim.id), NoAnswer(Silence.BROKEN), time.monotonic())
        lane.answer_seconds = took


def count_room(lane: Lane) -> int:
    wanted = lane.find_wanted()
    return 0 if wanted is None else wanted.requests


def test_no_moments_are_reserved_for_more_than_the_window_has_under_way() -> None:
    lane = open_lane(open_batch(1, 2000, permits=500))
    lane.answer_seconds = 0.3
    of_the_permits = count_room(lane)
    lane.at_most = 50
    assert count_room(lane) == of_the_permits // 10 > 50


def test_a_batch_without_permits_of_its_own_uses_those_of_the_one_before_it() -> None:
    first, second = open_batch(1, 10, permits=4, with_moment=10), open_batch(2, 10, permits=0)
    lane = open_lane(first, second)
    assert lane.count_permits() == 4
    answer(lane, first, 9, took=10.0)
    assert count_room(lane) == 3  # one is still under way
    questions = lane.take_waiting([time.monotonic()] * 3)
    assert [question.claim_id for question in questions] == [2, 2, 2]


def test_the_oldest_batch_is_asked_about_first() -> None:
    lane = open_lane(open_batch(1, 2, permits=2), open_batch(2, 2, permits=2))
    assert [question.claim_id for question in lane.take_waiting([0.0, 0.1, 0.2])] == [1, 1, 2]


def test_what_could_not_be_sent_waits_again_in_its_own_batch() -> None:
    first, second = open_batch(1, 1, permits=1), open_batch(2, 1, permits=1)
    lane = open_lane(first, second)
    questions = lane.take_waiting([0.0, 0.1])
    lane.put_back(questions)
    assert ([*first.waiting], [*second.waiting]) == ([*first.unanswered.values()], [*second.unanswered.values()])


def test_permits_that_a_batch_needs_no_more_pass_on() -> None:
    first, second = open_batch(1, 10, permits=8), open_batch(2, 9, permits=0)
    lane = open_lane(first, second)
    answer(lane, first, 7)
    assert lane.release(first) == Release(left=3, freed=5, heir=2, passed_on=5)
    assert [batch.permits for batch in (first, second)] == [3, 5]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), min_size=1, max_size=5), st.data())
def test_a_lane_never_holds_fewer_permits_than_requests_may_be_under_way(
    given_batches: list[tuple[int, int]], data: st.DataObject
) -> None:
    lane = open_lane(*(open_batch(n, leads, permits) for n, (leads, permits) in enumerate(given_batches)))
    held = lane.count_permits()
    while lane.batches:
        batch = data.draw(st.sampled_from(list(lane.batches.values())))
        answer(lane, batch, data.draw(st.integers(1, len(batch.unanswered))))
        release = lane.release(batch)
        assert min(held, lane.count_unanswered()) <= lane.count_permits() <= held
        assert 0 <= release.passed_on <= release.freed
        held = lane.count_permits()


def test_permits_that_nobody_lacks_are_given_back() -> None:
    first, second = open_batch(1, 6, permits=6), open_batch(2, 4, permits=2)
    lane = open_lane(first, second)
    answer(lane, first, 6)
    assert lane.release(first) == Release(left=0, freed=6, heir=2, passed_on=2)
    assert lane.count_permits() == 4


def test_permits_of_the_last_batch_are_given_back() -> None:
    alone = open_batch(1, 3, permits=2)
    lane = open_lane(alone)
    answer(lane, alone, 2)
    assert lane.release(alone) == Release(left=1, freed=1)
    answer(lane, alone, 1)
    assert lane.release(alone) == Release(left=0, freed=1)
    assert not lane.batches


def test_quick_answers_make_room_for_more_than_one_request_a_permit() -> None:
    batch = open_batch(1, 100, permits=4)
    lane = open_lane(batch)
    assert count_room(lane) == 4  # how long answers take is not known yet
    answer(lane, batch, 1, took=0.09)
    assert count_room(lane) == 17  # within three tenths of a second each permit is free three times more, and a third


def test_moments_are_wanted_again_when_half_of_those_ahead_of_their_permits_are_used() -> None:
    lane = open_lane(open_batch(1, 100, permits=4))
    lane.answer_seconds = 0.09
    lane.take_waiting([0.0] * 17)  # of which thirteen wait for permits
    for _ in range(2):
        assert lane.find_wanted() is None
        answer(lane, lane.batches[1], 5, took=0.09)
    assert lane.find_wanted() == Wanted(10, 0, 1)


def test_the_next_batch_is_claimed_when_half_of_the_last_one_is_left() -> None:
    batch = open_batch(1, 20, permits=2)
    lane = open_lane(batch)
    answer(lane, batch, 9)
    assert not lane.wants_more()
    answer(lane, batch, 1)
    assert lane.wants_more()


def test_the_next_batch_is_claimed_when_all_of_the_last_one_are_under_way_and_answers_are_slow() -> None:
    batch = open_batch(1, 20, permits=20, with_moment=10)
    lane = open_lane(batch)
    assert lane.wants_more()
    lane.add(open_batch(2, 20, permits=0))
    assert not lane.wants_more()  # without a permit it only waits


def test_a_lane_that_was_stopped_comes_to_its_end_beside_the_next_one() -> None:
    lanes = Lanes()
    first = lanes.make(ACCOUNT)
    first.add(open_batch(1, 2, permits=2))
    lanes.keep(first)
    assert lanes.find_open(ACCOUNT) is first
    assert lanes.find_open(OTHER) is None
    assert lanes.close(first)
    assert not lanes.close(first)
    assert lanes.find_open(ACCOUNT) is None
    second = lanes.make(ACCOUNT)
    second.add(open_batch(2, 2, permits=2))
    lanes.keep(second)
    assert not lanes.close(first)
    lanes.forget(first)
    assert (list(lanes), lanes.list_open(), lanes[second.id]) == ([second], [second], second)
    lanes.forget(second)
    assert (len(lanes), lanes.list_open()) == (0, [])


def test_permits_for_which_others_wait_are_given_back_soon() -> None:
    lanes = Lanes()
    lane = lanes.make(ACCOUNT)
    lane.add(open_batch(1, 2, permits=2))
    lanes.keep(lane)
    assert lanes.find_wait(is_closing=False) == math.inf
    lanes.close(lane)
    assert lanes.find_wait(is_closing=True) < lanes.find_wait(is_closing=False) == SETTLE_SOON_SECONDS
    lane.is_handed_over = True
    assert lanes.find_wait(is_closing=False) == SETTLE_SOON_SECONDS
    lanes.forget(lane)
    assert lanes.find_wait(is_closing=False) == math.inf


def test_a_lane_that_is_closed_is_to_be_handed_over_once() -> None:
    lanes = Lanes()
    lane = lanes.make(ACCOUNT)
    lane.add(open_batch(1, 2, permits=2))
    lanes.keep(lane)
    assert lanes.list_closed() == []
    lanes.close(lane)
    assert lanes.list_closed() == [lane]
    lane.is_handed_over = True
    assert lanes.list_closed() == []
    assert list(lanes) == [lane]  # its answers are still waited for


def test_an_account_can_be_handed_over_once_it_has_a_permit_for_another_process() -> None:
    batch = open_batch(1, 4, permits=4, with_moment=4)
    lane = open_lane(batch)
    assert not lane.leaves_permits()
    answer(lane, batch, 1)
    assert lane.leaves_permits()


def test_an_account_that_bears_fewer_requests_than_it_may_be_sent_is_handed_over_later() -> None:
    batch = open_batch(1, 4, permits=4, with_moment=4, borne=2)
    lane = open_lane(batch)
    answer(lane, batch, 2)
    assert not lane.leaves_permits()
    answer(lane, batch, 1)
    assert lane.leaves_permits()
    assert not lane.has_free_permits()  # they are not settled yet
    lane.release(batch)
    assert lane.has_free_permits()


def test_a_lane_lacks_permits_as_long_as_its_account_may_have_more_of_them() -> None:
    lane = open_lane(open_batch(1, 20, permits=1))
    wanted = lane.find_wanted()
    assert wanted == Wanted(1, 3, 1)
    lane.take_permits(wanted, 3)
    assert lane.count_permits() == 4
    assert lane.find_wanted() == Wanted(4, 0, 1)


def test_a_lead_whose_permit_is_kept_by_one_that_hangs_has_another() -> None:
    hanging, late = open_batch(1, 1, permits=1, with_moment=1), open_batch(2, 1, permits=0, with_moment=1)
    lane = open_lane(hanging, late)
    lane.answered_at = time.monotonic() + 3600
    assert lane.find_wanted() is None  # it may be answered in a moment
    lane.answered_at -= 3600 + HELD_UP_SECONDS
    wanted = lane.find_wanted()
    assert wanted == Wanted(0, 0, 2, held_up=1)
    lane.take_permits(wanted, 1)
    assert lane.find_wanted() is None


def test_what_was_given_up_is_unasked_until_it_is_settled() -> None:
    asked, waiting = open_batch(1, 1, permits=1, with_moment=1), open_batch(2, 1, permits=0)
    lane = open_lane(asked, waiting)
    answer(lane, asked, 1)
    assert not lane.has_unasked()
    lane.give_up_waiting()
    assert lane.has_unasked()
    assert lane.list_told() == [asked, waiting]
    waiting.hand_over()
    assert not lane.has_unasked()
    assert lane.list_told() == [asked]


def test_an_answer_says_that_nobody_is_held_up() -> None:
    batch = open_batch(1, 8, permits=2, with_moment=8)
    lane = open_lane(batch)
    lane.answered_at -= HELD_UP_SECONDS
    assert lane.find_wanted() is not None
    answer(lane, batch, 1)
    lane.answered_at += 3600  # however slow this machine is: it was before anything was claimed
    assert lane.find_wanted() is None


def test_permits_go_to_those_that_have_their_moments_before_others() -> None:
    hanging = open_batch(1, 2, permits=1, with_moment=2)
    lane = open_lane(hanging, open_batch(2, 6, permits=0))
    lane.answered_at -= HELD_UP_SECONDS
    assert lane.find_wanted() == Wanted(0, 2, 2, held_up=1)


def test_no_permit_is_wanted_while_a_settlement_says_how_many_are_kept() -> None:
    lane = open_lane(open_batch(1, 20, permits=1))
    assert lane.find_wanted(with_permits=False) == Wanted(1, 0, 1)
    held_up = open_lane(open_batch(1, 2, permits=1, with_moment=2))
    held_up.answered_at -= HELD_UP_SECONDS
    assert held_up.find_wanted(with_permits=False) is None


def test_a_lane_whose_permits_are_enough_lacks_none() -> None:
    assert open_lane(open_batch(1, 1, permits=1)).find_wanted() == Wanted(1, 0, 1)
