"""Learning when leads resolve: take in what ended since last time, and compute the schedules anew.

Done in one place, every LEARN_EVERY (`worker.scheduling`); `worker.schedule_book` is how it is read. Interrupted while
taking in, it has taken in nothing; done twice at once, the second finds nothing to take in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection, Engine

from worker.accounts import Account
from worker.domain.learning.bounds import Bounds
from worker.domain.learning.distribution import Distribution
from worker.domain.learning.estimate import estimate
from worker.domain.learning.histogram import Histogram, add_leads
from worker.domain.learning.schedule import Plan, count_affordable_polls, make_plan_within
from worker.domain.learning.survival import list_observed
from worker.schedule_book import FEWEST_LEADS
from worker.store.db import read_clock, transaction
from worker.store.schedules import (
    WHOLE_ACCOUNT,
    StoredSchedule,
    Whose,
    count_leads_of_a_day,
    find_rate,
    list_open,
    list_scheduled,
    name_accounts,
    read_histogram,
    read_schedules,
    save_histogram,
    save_schedule,
    take_resolutions,
)

log = structlog.get_logger(__name__)

MOST_NEVER = 0.99  # of its account's leads, for a campaign: not all of them, since some of its own have resolved


@dataclass(frozen=True, slots=True)
class Learning:
    """The settings of learning. `half_life_leads`: after so many new leads an old one counts half."""

    price: float
    bounds: Bounds
    deadline: float
    half_life_leads: int
    is_used: bool = True


@dataclass(frozen=True, slots=True)
class Learned:
    """A schedule in force, with the distribution behind it as it is known now."""

    schedule: StoredSchedule
    times: Distribution


def recompute_schedules(engine: Engine, settings: Learning, accounts: Mapping[str, Account]) -> int:
    """Take in the watches that ended, and put new schedules into force where there is enough; returns how many."""
    histograms, names, known = _take_in(engine, settings)
    estimates, computed = _Estimates(settings), 0
    for whose, histogram in histograms.items():
        # What was learned of too few since a change puts the schedule from before it out of force.
        if histogram.weight >= FEWEST_LEADS or whose in known:
            # Each in a transaction of its own: none is open for long, and what was taken in is safe already.
            with transaction(engine) as connection:
                _compute(connection, whose, histogram, estimates, accounts.get(names[whose[0]]))
            computed += 1
    return computed


def _take_in(engine: Engine, settings: Learning) -> tuple[dict[Whose, Histogram], dict[int, str], set[Whose]]:
    """The histograms that new leads have changed, the accounts' names, and who has a schedule."""
    with transaction(engine) as connection:
        now, taken = read_clock(connection), take_resolutions(connection)
        histograms = {}
        for whose, leads in sorted(taken.items()) if settings.is_used else ():
            kept: float = 0.5 ** (len(leads) / settings.half_life_leads)
            histograms[whose] = add_leads(read_histogram(connection, whose), leads, kept)
            save_histogram(connection, whose, histograms[whose], now)
        return histograms, name_accounts(connection), list_scheduled(connection)


def _compute(
    connection: Connection,
    whose: Whose,
    histogram: Histogram,
    estimates: _Estimates,
    account: Account | None,
) -> None:
    now, settings = read_clock(connection), estimates.settings
    times = estimates.estimate(connection, whose, histogram, now)
    most = _count_affordable_polls(connection, whose[0], account, now)
    plan = make_plan_within(times, settings.price, most, settings.bounds)
    version = save_schedule(connection, whose, plan, histogram.weight, now)
    log.info("schedule_learned", account=whose[0], campaign=whose[1] or None, version=version, **_describe(plan))


class _Estimates:
    """The distributions behind histograms: an account's first, then those of its campaigns."""

    def __init__(self, settings: Learning) -> None:
        self.settings = settings
        self._never: dict[int, float] = {}  # of an account's leads, the share that never resolves
        self._fading: dict[int, float] = {}  # half-lives a second

    def estimate(self, connection: Connection, whose: Whose, histogram: Histogram, now: datetime) -> Distribution:
        """The distribution behind this one."""
        account, is_campaign = whose[0], whose[1] != WHOLE_ACCOUNT
        # Of an open lead the campaign is seldom told, so only the account knows its open ones.
        still_open = [] if is_campaign else list_open(connection, account, now)
        fading = self._find_fading(connection, account, now)
        observed, never = list_observed(histogram, still_open, fading, self.settings.deadline)
        resolved = sum(each.weight for each in observed)
        if is_campaign:
            # Its leads that never resolve are open, and unknown, until the deadline: as many as elsewhere, or more.
            share = min(self._never.get(account, 0.0), MOST_NEVER)
            never = max(never, resolved * share / (1 - share))
        else:
            self._never[account] = never / max(never + resolved, 1e-9)
        return estimate(observed, never, self.settings.deadline)

    def _find_fading(self, connection: Connection, account: int, now: datetime) -> float:
        if account not in self._fading:
            rate = find_rate(connection, account, now, self.settings.deadline)
            self._fading[account] = rate / self.settings.half_life_leads
        return self._fading[account]


def _count_affordable_polls(connection: Connection, account_id: int, account: Account | None, now: datetime) -> float:
    """How many polls a lead the account's budget bears."""
    if account is None:
        return float("inf")
    leads = count_leads_of_a_day(connection, account_id, now)
    return count_affordable_polls(account.requests_per_second, account.requests_per_day, leads)


def read_learned(engine: Engine, account: str | None, settings: Learning) -> list[Learned]:
    """The schedules in force, of one account or all, with the distributions behind them."""
    with transaction(engine) as connection:
        now, ids = read_clock(connection), {name: id_ for id_, name in name_accounts(connection).items()}
        stored = [each for each in read_schedules(connection, 0) if account in {None, each.account}]
        whose = [(ids[each.account], each.campaign_id) for each in stored]
        estimates = _Estimates(settings)
        return [
            Learned(each, estimates.estimate(connection, key, read_histogram(connection, key), now))
            for each, key in zip(stored, whose, strict=True)
        ]


def _describe(plan: Plan) -> dict[str, float]:
    return {"ages": len(plan.ages), "price": round(plan.price, 1), "polls": round(plan.cost.polls, 2)}
