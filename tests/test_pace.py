"""Requests that were delayed neither leave in a bunch nor too late, and leads that were not asked about don't pay."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import Engine, text

from worker import asking
from worker.accounts import Account
from worker.domain.backoff import LadderSchedule
from worker.domain.decide import Policy
from worker.intake import Submission, track
from worker.leadbyte import pace
from worker.leadbyte.client import LeadByteClient
from worker.leadbyte.lanes import Lanes
from worker.leadbyte.pace import LATEST_SECONDS, LEAST_OF_GAP, SLACK_SECONDS
from worker.leadbyte.requests_transport import RequestsTransport
from worker.leadbyte.room import Room
from worker.leadbyte.transport import Request
from worker.poller import Poller
from worker.polling import poll_account
from worker.sandbox import running_sandbox
from worker.store.budget import ROOM_FOR_JITTER
from worker.store.db import transaction

# As LeadByte may count it: of two requests, the way there may take the first so much longer.
A_SECOND = 1.02


@pytest.fixture
def lateness_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the clock is ours."""
    monkeypatch.setattr(pace, "LATEST_SECONDS", LATEST_SECONDS)


def make_lane(*moments: float, gap: float = 0.0, parallel: int = 100, at_most: int = 100) -> Lanes:
    lanes = Lanes(Room(at_most, least=at_most))
    lanes.open(1, parallel)
    lanes.add(1, [Request(tag, "", send_at=moment) for tag, moment in enumerate(moments)], gap)
    return lanes


def list_departures(lanes: Lanes, now: float, until: float) -> list[float]:
    """When each request leaves, if somebody looks at every moment that the lanes name."""
    left = []
    while now < until:
        left += [round(now, 3) for _ in lanes.let_out(now)]
        list(lanes.give_up(now))
        now = max(now, lanes.find_next_moment())
    return left


def test_requests_leave_at_their_moments() -> None:
    assert list_departures(make_lane(100.0, 100.5, 101.0, gap=0.5), 99, 200) == [100.0, 100.5, 101.0]


def test_requests_are_asked_in_the_order_of_their_moments() -> None:
    lanes = make_lane(102.0, 101.0, gap=1.0)
    lanes.add(1, [Request(7, "", send_at=103.0)], 1.0)
    assert [request.tag for _, request in lanes.let_out(101)] == [1]
    assert list_departures(lanes, 101, 200) == [102.0, 103.0]


def test_moments_that_others_reserved_between_ours_make_the_gap_no_longer() -> None:
    lanes = make_lane(100.0, 101.0, gap=0.5)
    lanes.add(1, [Request(7, "", send_at=101.5)], 0.5)
    assert list_departures(lanes, 99, 200) == [100.0, 101.0, 101.5]


def test_a_budget_that_has_shrunk_makes_the_gap_longer() -> None:
    lanes = make_lane(100.0, gap=0.1)
    lanes.add(1, [Request(7, "", send_at=100.1)], 1.0)
    assert list_departures(lanes, 100.0, 200) == [100.0, 100.0 + LEAST_OF_GAP]


@given(st.lists(st.floats(0, 0.4), min_size=2, max_size=60), st.integers(1, 40))
def test_no_second_sees_more_than_the_budget_however_long_each_request_was_held_up(
    delays: list[float], budget: int
) -> None:
    gap = 1 / (ROOM_FOR_JITTER * budget)
    lanes, left, now = make_lane(*(100 + gap * n for n in range(len(delays))), gap=gap), [], 100.0
    for delay in delays:
        now = max(now, lanes.find_next_moment()) + delay
        left += [now for _ in lanes.let_out(now)]
    assert all(sum(start <= at < start + A_SECOND for at in left) <= budget for start in left)


def list_arrivals(lanes: Lanes, handshakes: list[float], now: float) -> list[float]:
    """When each request is seen, if each leaves as soon as it may and waits so long for its connection."""
    came: list[float] = []
    connecting: list[float] = []
    takes = iter(handshakes)
    while now < math.inf:
        for at in [at for at in connecting if at <= now]:
            connecting.remove(at)
            lanes.note_sent(1, at)
            came.append(at)
        for _ in lanes.let_out(now):
            if seconds := next(takes):
                lanes.note_connecting(1, now)
                connecting.append(now + seconds)
            else:
                came.append(now)  # over a connection that stands
        list(lanes.give_up(now))
        now = max(now, min([lanes.find_next_moment(), *connecting]))
    return came


HANDSHAKES = st.lists(st.just(0.0) | st.floats(0.001, 0.9), min_size=2, max_size=60)


@given(HANDSHAKES, st.integers(1, 40))
def test_no_second_sees_more_than_the_budget_however_long_connections_take(
    handshakes: list[float], budget: int
) -> None:
    gap = 1 / (ROOM_FOR_JITTER * budget)
    came = list_arrivals(make_lane(*(100 + gap * n for n in range(len(handshakes))), gap=gap), handshakes, 100.0)
    assert all(sum(start <= at < start + A_SECOND for at in came) <= budget for start in came)


@given(HANDSHAKES, st.integers(1, 40))
def test_who_goes_on_after_a_lane_need_not_know_what_left_of_it(handshakes: list[float], budget: int) -> None:
    gap, count = 1 / (ROOM_FOR_JITTER * budget), len(handshakes)
    lanes = make_lane(*(100 + gap * n for n in range(count)), gap=gap)
    came = list_arrivals(lanes, handshakes, 100.0)
    next_moment = max(100 + gap * count, *came)  # the next to be reserved, once the last one was answered
    first = max(next_moment, lanes.find_overrun(1) or 0.0)
    came += [first + gap * n for n in range(2 * budget)]
    assert all(sum(start <= at < start + A_SECOND for at in came) <= budget for start in came)


def test_a_connection_that_is_made_in_vain_holds_up_nothing_afterwards() -> None:
    lanes = make_lane(100.0, 101.1, gap=1.1)
    assert len(list(lanes.let_out(100))) == 1
    lanes.note_connecting(1, 100.0)
    assert list_departures(lanes, 101.1, 101.5) == []
    assert not lanes.look_at(1).is_quiet
    lanes.note_sent(1, None)
    assert list_departures(lanes, 101.5, 102) == [101.5]


def test_nobody_goes_on_while_a_request_waits_for_its_connection() -> None:
    lanes = make_lane(100.0, gap=0.1)
    list(lanes.let_out(100))
    lanes.note_connecting(1, 100.0)
    assert lanes.find_overrun(1) == math.inf
    lanes.note_sent(1, 100.3)
    assert lanes.find_overrun(1) == pytest.approx(100.39, abs=0.01)  # in the rhythm of those that follow


def test_requests_that_were_held_up_come_back_to_their_moments() -> None:
    lanes = make_lane(*(100 + 0.1 * n for n in range(400)), gap=0.1, parallel=400, at_most=400)
    list(lanes.let_out(100.0))
    left = list_departures(lanes, 100.25, 200)
    late = [at - (100.1 + 0.1 * n) for n, at in enumerate(left)]
    assert late[0] == pytest.approx(0.15)
    assert late[-1] == pytest.approx(0.0)
    # They make up for it within each second, where it has room for that.
    assert all(later <= sooner + 0.016 for sooner, later in pairwise(late))
    assert max(late) == late[0]


def test_delayed_requests_do_not_catch_up_in_a_bunch() -> None:
    left = list_departures(make_lane(100.0, 100.5, 101.0, gap=0.5), 100.9, 200)
    first = 100.9 - SLACK_SECONDS
    assert left == [100.9, round(first + 0.5 * LEAST_OF_GAP, 3), round(first + LEAST_OF_GAP, 3)]


def test_requests_added_one_by_one_keep_the_gap_too() -> None:
    lanes = make_lane()
    left = []
    for moment in (100.0, 100.5, 101.0):
        lanes.add(1, [Request(0, "", send_at=moment)], 0.5)
        left += list_departures(lanes, 101.0, 101.1)
    assert left == [101.0]
    assert len(list_departures(lanes, 101.4, 200)) == 2


def test_a_timers_coarseness_slows_no_lane_down() -> None:
    lanes = make_lane(*(100 + n / 1000 for n in range(50)), gap=0.001)
    left = [sum(1 for _ in lanes.let_out(100 + tick / 100)) for tick in range(6)]
    assert left == [1, 10, 10, 10, 10, 9]


@pytest.mark.usefixtures("lateness_as_it_is")
def test_a_request_that_is_too_late_is_not_sent() -> None:
    lanes = make_lane(100.0, 100.5)
    now = 100.2 + LATEST_SECONDS
    assert [request.tag for _, request in lanes.give_up(now)] == [0]
    assert [request.tag for _, request in lanes.let_out(now)] == [1]


@pytest.mark.usefixtures("lateness_as_it_is")
def test_requests_that_wait_for_room_are_given_up_in_time() -> None:
    lanes = make_lane(100.0, 100.0, 101.0, parallel=1)
    assert list_departures(lanes, 100, 200) == [100.0]
    assert lanes.find_next_moment() == math.inf


@pytest.mark.usefixtures("lateness_as_it_is")
def test_what_all_lanes_may_have_under_way_is_bounded() -> None:
    lanes = make_lane(100.0, 100.0, at_most=3)
    lanes.open(2, 5)
    lanes.add(2, [Request(tag, "", send_at=100.0) for tag in range(5)], 0.0)
    assert [lane for lane, _ in lanes.let_out(100)] == [1, 1, 2]
    assert lanes.find_next_moment() == 100.0 + LATEST_SECONDS
    lanes.end(1, 0.1)
    assert [lane for lane, _ in lanes.let_out(100)] == [2]


@pytest.mark.usefixtures("lateness_as_it_is")
def test_lanes_take_turns_at_what_room_there_is() -> None:
    lanes = make_lane(*[100.0] * 6, at_most=2)
    lanes.open(2, 5)
    lanes.add(2, [Request(tag, "", send_at=100.0) for tag in range(6)], 0.0)
    turns = []
    for _ in range(4):
        let_out = [lane for lane, _ in lanes.let_out(100)]
        turns.append(let_out)
        assert list(lanes.let_out(100)) == []  # looking without room is no turn
        for lane in let_out:
            lanes.end(lane, 0.1)
    assert turns == [[1, 1], [2, 2], [1, 1], [2, 2]]


@pytest.mark.usefixtures("lateness_as_it_is")
def test_a_lane_that_hangs_takes_no_room_from_one_that_is_quick() -> None:
    lanes = make_lane(*[100.0] * 50, at_most=8)
    lanes.open(2, 4)
    lanes.add(2, [Request(tag, "", send_at=100.0) for tag in range(50)], 0.0)
    assert [lane for lane, _ in lanes.let_out(100)] == [1] * 8
    lanes.end(1, 0.1)  # the only answer that this lane gets
    for _ in range(40):
        assert [lane for lane, _ in lanes.let_out(100)] == [2]
        lanes.end(2, 0.1)


def test_a_lane_is_forgotten_once_the_last_of_it_was_taken() -> None:
    lanes = make_lane(100.0)
    list(lanes.let_out(100))
    lanes.forget(1)
    lanes.add(1, [Request(1, "", send_at=100.0)], 0.0)
    assert [request.tag for _, request in lanes.give_up(100)] == [1]
    lanes.end(1, 0.1)
    for _ in range(2):
        lanes.note_taken([1])
    assert len(lanes) == 0
    with pytest.raises(KeyError):
        lanes.add(1, [Request(2, "")], 0.0)


def test_leads_behind_hanging_ones_are_handed_back_unasked(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LONGEST_WAIT_SECONDS", 0.3)
    policy = Policy(timedelta(days=7), timedelta(hours=1), LadderSchedule())
    with running_sandbox() as box:
        key = SecretStr("sandbox-key")
        account = Account("sandbox", box.base_url, "query", 1000.0, 4, key, None)
        queue_ids = box.submit(8)
        list(track(engine, account.name, map(Submission, queue_ids)))
        with transaction(engine) as connection:
            connection.execute(text("update resolver.watches set next_poll_at = clock_timestamp()"))
        box.script("@poll", "hang")
        client = LeadByteClient(RequestsTransport(), timeout_seconds=0.6)
        polled = poll_account(Poller(engine, client, {account.name: account}, policy, batch_size=8), account)
        client.close()
    assert polled is not None
    assert (polled.failed, polled.lost) == (4, 0)  # as many as might be under way at once
    with transaction(engine) as connection:
        rows = connection.execute(
            text("select polls, failures, next_poll_at <= clock_timestamp() as due, claim_id from resolver.watches")
        ).all()
    assert sorted(tuple(row) for row in rows) == [(0, 0, True, None)] * 4 + [(1, 1, False, None)] * 4
