"""A learned schedule as the worker uses it, and how a plan is made from what was observed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import inf

from worker.domain.backoff import Schedule
from worker.domain.learning.bounds import UNBOUNDED, Bounds
from worker.domain.learning.distribution import Cost, Distribution, cost_ages
from worker.domain.learning.optimum import plan_polls

# Of a gap, and at most: what resolves at a set time does so a moment before the age, and an earlier poll missed it.
ALL_BUT, ALL_BUT_MOST = 0.1, timedelta(seconds=1)
BUDGET_SHARE = 0.5  # of an account's requests: the rest is for the busy hours, failures and catching up
SECONDS_A_DAY = 86_400
HARDLY_MORE = 1.05
DEAREST = 1e7  # seconds a poll: four months of waiting, beyond which a budget buys nothing any more


@dataclass(frozen=True, slots=True)
class Plan:
    """Poll ages for a price, and what they are expected to cost a lead."""

    price: float
    ages: Sequence[float]
    cost: Cost


def make_plan(times: Distribution, price: float, bounds: Bounds = UNBOUNDED) -> Plan:
    """The best ages for this price within these bounds."""
    ages = plan_polls(times, price, bounds)
    return Plan(price, ages, cost_ages(times, ages))


def make_plan_within(times: Distribution, price: float, most_polls: float, bounds: Bounds = UNBOUNDED) -> Plan:
    """As `make_plan`, at a higher price if need be, so that a lead is polled at most so often on average.

    The bounds may cost more than that by themselves; then it is the fewest that they leave, or hardly more.
    """
    plan = make_plan(times, price, bounds)
    low, high = price, DEAREST
    if plan.cost.polls <= most_polls or low >= high:
        return plan
    plan = make_plan(times, high, bounds)
    most_polls = max(most_polls, HARDLY_MORE * plan.cost.polls)
    while high > low * 1.05:  # nobody would notice a closer price
        middle = (low * high) ** 0.5
        tried = make_plan(times, middle, bounds)
        if tried.cost.polls <= most_polls:
            high, plan = middle, tried
        else:
            low = middle
    return plan


def count_affordable_polls(requests_per_second: float, requests_per_day: float | None, leads_a_day: float) -> float:
    """How many polls a lead a budget bears."""
    a_day = count_requests_a_day(requests_per_second, requests_per_day)
    return BUDGET_SHARE * a_day / leads_a_day if leads_a_day else inf


def count_requests_a_day(requests_per_second: float, requests_per_day: float | None) -> float:
    """As many as a budget bears."""
    return min(requests_per_second * SECONDS_A_DAY, inf if requests_per_day is None else requests_per_day)


@dataclass(frozen=True, slots=True)
class LearnedSchedule:
    """The ages of a plan; beyond its last every `longest_gap`. `name` is for people: "schedule 17 of campaign 6"."""

    ages: Sequence[timedelta]
    longest_gap: timedelta
    name: str
    version: int = 0
    is_exact: bool = True

    def next_poll_age(self, age: timedelta) -> timedelta:
        """The next of its ages; one that is all but reached counts as taken."""
        at = bisect_right(self.ages, age)
        if at >= len(self.ages):
            return age + self.longest_gap
        previous = self.ages[at - 1] if at else timedelta(0)
        is_near = self.ages[at] - age < min((self.ages[at] - previous) * ALL_BUT, ALL_BUT_MOST)
        return self.ages[at + 1] if is_near and at + 1 < len(self.ages) else self.ages[at]


def make_ages(seconds: Sequence[float]) -> tuple[timedelta, ...]:
    """Ages as durations."""
    return tuple(timedelta(seconds=age) for age in seconds)


def list_ages(schedule: Schedule, deadline: float) -> Iterator[float]:
    """Where a schedule polls if nothing jitters, in seconds; the last age is the deadline."""
    age = timedelta(0)
    while (age := schedule.next_poll_age(age)).total_seconds() < deadline:
        yield age.total_seconds()
    yield deadline
