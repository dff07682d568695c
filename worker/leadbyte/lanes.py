"""Which requests may leave now, of several lanes: each lane's order, pace and number under way. No I/O, no clock.

Both transports go by it: `requests_transport`, `curl_transport`.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from worker.leadbyte import pace
from worker.leadbyte.pace import Pace, is_too_late
from worker.leadbyte.room import Room
from worker.leadbyte.transport import GONE, LaneLook, Request

FADES = 0.8  # of how long answers took, with each that was quicker
_by_moment = attrgetter("send_at")


def _by_under_way(named: tuple[int, _Lane]) -> int:
    return named[1].under_way


@dataclass(slots=True)
class _Lane:
    parallel: int
    pace: Pace = field(default_factory=Pace)
    waiting: deque[Request] = field(default_factory=deque)  # in the order of their moments
    under_way: int = 0
    answer_seconds: float = math.inf
    last_moment: float = -math.inf  # of those that have left
    untaken: int = 0  # added, and not yet taken by the caller
    is_stopped: bool = False
    is_leaving: bool = False  # to be forgotten once nothing is left to take

    def add(self, requests: Sequence[Request], gap_seconds: float) -> None:
        self.untaken += len(requests)
        if requests:
            self.pace.keep_gap(gap_seconds)
        self.waiting = deque(sorted([*self.waiting, *requests], key=_by_moment))

    def look(self, at_most: int) -> LaneLook:
        is_quiet = not self.waiting and not self.pace.connecting
        return LaneLook(self.is_stopped, is_quiet, self.answer_seconds, at_most)

    def find_overrun(self) -> float | None:
        planned, possible = self.last_moment + self.pace.gap_seconds, self.pace.find_next_turn()
        return possible if possible > planned else None

    def let_out(self, now: float, most: int) -> Iterator[Request]:
        for _ in range(most):
            turn = self.find_turn()
            if turn > now:
                return
            request = self.waiting.popleft()
            self.pace.note_departure(turn, now)
            self.last_moment = request.send_at
            self.under_way += 1
            yield request

    def end_one(self, seconds: float) -> None:
        self.under_way -= 1
        known = self.answer_seconds
        self.answer_seconds = max(seconds, FADES * known) if known < math.inf else seconds

    def find_turn(self) -> float:
        if self.is_stopped or not self.waiting or self.under_way >= self.parallel:
            return math.inf
        return self.pace.find_turn(self.waiting[0].send_at)

    def find_last_call(self) -> float:
        return self.waiting[0].send_at + pace.LATEST_SECONDS if self.waiting else math.inf


class Lanes:
    """The lanes of one window. `room` bounds what is under way in all of them together."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.under_way = 0
        self._lanes: dict[int, _Lane] = {}
        self._untaken = 0

    def __len__(self) -> int:
        return self._untaken

    def is_full(self) -> bool:
        """Whether as many are under way as there may be, whatever their lanes allow."""
        return self.under_way >= self._room.at_most

    def open(self, lane: int, parallel: int) -> None:
        """See `Window.open_lane`."""
        if lane in self._lanes:
            self._lanes[lane].parallel = parallel
        else:
            self._lanes[lane] = _Lane(parallel)

    def add(self, lane: int, requests: Sequence[Request], gap_seconds: float) -> None:
        """See `Window.add`; KeyError if the lane was never opened, or is gone."""
        self._lanes[lane].add(requests, gap_seconds)
        self._untaken += len(requests)

    def stop(self, lane: int) -> None:
        """Let nothing more out of this lane."""
        self._lanes[lane].is_stopped = True

    def look_at(self, lane: int) -> LaneLook:
        """See `Window`."""
        return self._lanes[lane].look(self._room.at_most) if lane in self._lanes else GONE

    def find_overrun(self, lane: int) -> float | None:
        """See `Window`."""
        return self._lanes[lane].find_overrun() if lane in self._lanes else None

    def forget(self, lane: int) -> None:
        """Stop it, and drop it once the last of it has been taken; nothing if it is gone already."""
        if lane in self._lanes:
            self._lanes[lane].is_stopped = self._lanes[lane].is_leaving = True
            self._drop_if_empty(lane)

    def let_out(self, now: float) -> Iterator[tuple[int, Request]]:
        """Each request that may leave now; it counts as under way from here on.

        Where there is not room for all, lanes with the fewest under way come first: one whose answers come at once must
        not lose its room, one by one, to one that hangs.
        """
        for name, lane in sorted(self._lanes.items(), key=_by_under_way):
            if self.is_full():
                return
            for request in lane.let_out(now, self._room.at_most - self.under_way):
                self.under_way += 1
                yield name, request
            if self.is_full():  # the next to have room, of those that have as few, is the one behind it
                self._lanes[name] = self._lanes.pop(name)

    def give_up(self, now: float) -> Iterator[tuple[int, Request]]:
        """Each request that will not be sent: its lane was stopped, or it is too late for it."""
        for name, lane in self._lanes.items():
            while lane.waiting and (lane.is_stopped or is_too_late(lane.waiting[0].send_at, now)):
                yield name, lane.waiting.popleft()

    def end(self, lane: int, seconds: float) -> None:
        """One that was under way has ended, so long after it left."""
        self._lanes[lane].end_one(seconds)
        self.under_way -= 1

    def note_connecting(self, lane: int, left_at: float) -> None:
        """The request that left the lane then waits for a new connection."""
        self._lanes[lane].pace.note_connecting(left_at)

    def note_sent(self, lane: int, at: float | None) -> None:
        """It was sent then, over the new connection; None: it never was. Before its `end`."""
        self._lanes[lane].pace.note_sent(at)

    def note_taken(self, lanes: Iterable[int]) -> None:
        """The caller has an answer of each of these lanes, and as many of a lane as it is named."""
        for lane, taken in Counter(lanes).items():
            self._lanes[lane].untaken -= taken
            self._untaken -= taken
            self._drop_if_empty(lane)

    def find_next_moment(self) -> float:
        """When there will be something to let out or to give up, unless something ends before; inf for never."""
        moments = [lane.find_last_call() for lane in self._lanes.values()]
        if not self.is_full():
            moments += [lane.find_turn() for lane in self._lanes.values()]
        return min(moments, default=math.inf)

    def _drop_if_empty(self, lane: int) -> None:
        if self._lanes[lane].is_leaving and not self._lanes[lane].untaken:
            del self._lanes[lane]
