"""The worker on a virtual clock: leads arrive, are polled by their schedules within a budget, and LeadByte may be away.

What it leaves out: failures, several accounts, the time of a request, and the half minute or so after an outage until
LeadByte is known to be back and is asked as fast as before. What came due first is asked first.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from heapq import heapify, heappop, heappush
from math import inf
from random import Random

from worker.domain.backoff import Schedule, delay_after_not_yet
from worker.domain.learning.distribution import Distribution
from worker.domain.learning.estimate import Observed, estimate
from worker.domain.learning.schedule import SECONDS_A_DAY, count_requests_a_day
from worker.domain.lifecycle import State

Choose = Callable[[int], Schedule]


@dataclass(frozen=True, slots=True)
class Load:
    """What is simulated. The outage goes from one second of the simulation to another."""

    leads_per_day: float
    days: float
    requests_per_second: float
    requests_per_day: int | None = None
    outage: tuple[float, float] | None = None


@dataclass(slots=True)
class Outcome:
    """What came of it. Waiting is from a lead's resolution to the poll that saw it; lateness from due to asked."""

    leads: int = 0
    polls: int = 0
    polls_in_time: int = 0  # before the days simulated are over; the rest is for the leads left open then
    resolved: int = 0
    given_up: int = 0
    wait_seconds: float = 0.0
    most_overdue: int = 0
    longest_lateness_seconds: float = 0.0
    catch_up_seconds: float | None = None
    busy_share: float = 0.0  # of the budget, over the days simulated


def guess_times(deadline: float) -> Distribution:
    """A guess for want of anything learned: most in seconds, a quarter in minutes, 3 % never."""
    chance = Random(0)  # noqa: S311 - a fixed sample
    quick = [chance.lognormvariate(1.4, 0.9) for _ in range(1400)]
    slow = [chance.lognormvariate(5.7, 1.1) for _ in range(540)]
    return estimate([Observed(time, time) for time in quick + slow], 60, deadline)


def simulate(times: Distribution, choose_schedule: Choose, load: Load, seed: int) -> Outcome:
    """Run all leads of the load to their end, each by the schedule that is chosen for its number, from 1 on."""
    chance = Random(seed)  # noqa: S311 - of a simulation
    leads = list(_draw_leads(times, load, chance))
    schedules = [choose_schedule(n + 1) for n in range(len(leads))]
    coming = [(submitted + _find_first(schedules[n]), n) for n, (submitted, _) in enumerate(leads)]
    heapify(coming)
    outcome, due, now, asked = Outcome(leads=len(leads)), deque[tuple[float, int]](), 0.0, Counter[int]()
    while coming or due:
        if not due and coming[0][0] > now:
            _note_idle(outcome, now, coming[0][0], load)
        now = _skip_closed(max(now, coming[0][0]) if not due else now, load, asked)
        while coming and coming[0][0] <= now:
            due.append(heappop(coming))
        due_at, n = due.popleft()
        _note_poll(outcome, now, due_at, len(due) + 1)
        asked[int(now // SECONDS_A_DAY)] += 1
        outcome.polls_in_time += now < load.days * SECONDS_A_DAY
        again_at = _poll(outcome, leads[n], now, times.deadline, schedules[n], chance)
        if again_at is not None:
            heappush(coming, (again_at, n))
        now += 1 / load.requests_per_second
    _note_idle(outcome, now, inf, load)
    bearable = count_requests_a_day(load.requests_per_second, load.requests_per_day) * load.days
    # At most all of it: the last request may begin at the very end.
    outcome.busy_share = min(1.0, outcome.polls_in_time / bearable)
    return outcome


def _draw_leads(times: Distribution, load: Load, chance: Random) -> Iterator[tuple[float, float]]:
    """When each is submitted, and the age at which it resolves."""
    at, end = 0.0, load.days * SECONDS_A_DAY
    while (at := at + chance.expovariate(load.leads_per_day / SECONDS_A_DAY)) < end:
        share = chance.random()
        yield at, times.find_age(share) if share < times.resolving else float("inf")


def _find_first(schedule: Schedule) -> float:
    return schedule.next_poll_age(timedelta(0)).total_seconds()


def _skip_closed(now: float, load: Load, asked: Counter[int]) -> float:
    """The next moment at which LeadByte is there and the day's budget is not used up."""
    while True:
        day = int(now // SECONDS_A_DAY)
        if load.outage and load.outage[0] <= now < load.outage[1]:
            now = load.outage[1]
        elif load.requests_per_day is not None and asked[day] >= load.requests_per_day:
            now = (day + 1) * SECONDS_A_DAY
        else:
            return now


def _note_idle(outcome: Outcome, now: float, until: float, load: Load) -> None:
    """Nothing is due from now until then: what an outage kept waiting has been asked about, or there was nothing."""
    if load.outage and until > load.outage[1] and outcome.catch_up_seconds is None:
        outcome.catch_up_seconds = max(0.0, now - load.outage[1])


def _note_poll(outcome: Outcome, now: float, due_at: float, overdue: int) -> None:
    outcome.polls += 1
    outcome.most_overdue = max(outcome.most_overdue, overdue)
    outcome.longest_lateness_seconds = max(outcome.longest_lateness_seconds, now - due_at)


def _poll(
    outcome: Outcome, lead: tuple[float, float], now: float, deadline: float, schedule: Schedule, chance: Random
) -> float | None:
    """Ask about one lead; when to ask again, if at all."""
    submitted, resolves = lead
    age = now - submitted
    if age >= resolves:
        outcome.resolved += 1
        outcome.wait_seconds += age - resolves
        return None
    if age >= deadline:
        outcome.given_up += 1
        return None
    delay = delay_after_not_yet(schedule, timedelta(seconds=age), State.QUEUED, slowest=None, chance=chance.random())
    return min(now + delay.total_seconds(), submitted + deadline)
