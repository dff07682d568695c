"""`lead-resolver simulate`: what a budget and a price would lead to, before anybody is asked anything."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.accounts import load_accounts
from worker.cli.common import AccountOption, AsJson, command_engine
from worker.cli.output import out, print_json, print_table
from worker.cli.schedule import DeadlineOption, PriceOption, TimesOption, check_price, learn_file
from worker.cli.schedule_page import count_leads, say_age
from worker.domain.backoff import DEFAULT_SCHEDULE
from worker.domain.learning.bounds import Bounds
from worker.domain.learning.distribution import Distribution
from worker.domain.learning.schedule import (
    BUDGET_SHARE,
    LearnedSchedule,
    Plan,
    count_affordable_polls,
    make_ages,
    make_plan_within,
)
from worker.domain.learning.simulation import Load, Outcome, guess_times, simulate
from worker.errors import NotFoundError, UsageError
from worker.learning import read_learned
from worker.runtime import read_learning
from worker.schedule_book import EXPLORED
from worker.settings import MOST_REQUESTS_PER_SECOND, Settings, load_settings

app = typer.Typer()

MOST_LEADS = 500_000
LONGEST_OUTAGE = 3650 * 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_OUTAGE = re.compile(r"(?:([0-9.]{1,9})([smhd])\+)?([0-9.]{1,9})([smhd])", re.ASCII)


@app.command("simulate")
def simulate_load(
    leads_per_day: Annotated[float, typer.Option(min=1, max=10_000_000)] = 2000.0,
    days: Annotated[float, typer.Option(min=0.01, max=3650)] = 1.0,
    outage: Annotated[
        str | None, typer.Option(help="LeadByte is away: `2h` in the middle, `6h+2h` from the sixth hour on.")
    ] = None,
    requests_per_second: Annotated[
        float | None, typer.Option(min=0.001, max=MOST_REQUESTS_PER_SECOND, show_default=False)
    ] = None,
    times: TimesOption = None,
    account: AccountOption = None,
    price: PriceOption = None,
    deadline_hours: DeadlineOption = None,
    seed: Annotated[int, typer.Option(help="Another seed, other leads.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Run leads through the worker's schedule on a virtual clock: polls, waiting, backlog, time to catch up.

    How long leads take comes from --times, or from what was learned of --account, or else from a guess.
    """
    if leads_per_day * days > MOST_LEADS:
        raise UsageError(f"simulate: {leads_per_day * days:,.0f} leads are too many; at most {MOST_LEADS:,}")
    settings = load_settings()
    budget = _find_budget(settings, account, requests_per_second)
    load = Load(leads_per_day, days, *budget, parse_outage(outage, days))
    deadline = settings.abandon_after.total_seconds() if deadline_hours is None else deadline_hours * 3600
    distribution = _find_times(times, account, deadline)
    bounds = Bounds(settings.longest_gap.total_seconds(), settings.lead_resolver_first_minute_gap_seconds)
    affordable = count_affordable_polls(*budget, leads_per_day)
    wanted = check_price(price)
    plan = make_plan_within(distribution, wanted, affordable, bounds)
    learned = LearnedSchedule(make_ages(plan.ages), settings.longest_gap, "learned")
    outcomes = {
        "learned": simulate(distribution, lambda n: learned if n % EXPLORED else DEFAULT_SCHEDULE, load, seed),
        "default": simulate(distribution, lambda _: DEFAULT_SCHEDULE, load, seed),
    }
    if as_json:
        print_json({"price_seconds": plan.price, **{name: _describe(each) for name, each in outcomes.items()}})
    else:
        _print_outcomes(outcomes, load, say_price(plan, wanted, affordable / BUDGET_SHARE))


def say_price(plan: Plan, wanted: float, most_polls: float) -> str:
    """What a poll is worth, and whether the budget bears as many a lead as follow from that."""
    raised = f", raised from {wanted:g} s to keep to the budget" if plan.price > wanted else ""
    short = f"; the budget bears {most_polls:,.2f} polls a lead, and {plan.cost.polls:,.2f} are needed: leads pile up"
    return f"a poll is worth {plan.price:g} s of waiting{raised}{short if plan.cost.polls > most_polls else ''}"


def parse_outage(said: str | None, days: float) -> tuple[float, float] | None:
    """`2h` or `6h+2h` as seconds of the simulation."""
    if said is None:
        return None
    matched = _OUTAGE.fullmatch(said.strip().lower())
    try:
        length = float(matched[3]) * _UNITS[matched[4]] if matched else 0.0
        start = float(matched[1]) * _UNITS[matched[2]] if matched and matched[1] else (days * 86_400 - length) / 2
    except ValueError:
        length = start = 0.0
    if not 0 < length <= LONGEST_OUTAGE or start >= days * 86_400:
        raise UsageError(
            f"--outage: {said[:40]!r} is none; expected a length such as 2h, or start and length: 6h+2h; "
            f"it begins within the {days:g} days simulated and is over after ten years"
        )
    return max(start, 0.0), max(start, 0.0) + length


def _find_budget(settings: Settings, account: str | None, given: float | None) -> tuple[float, int | None]:
    """Requests a second and a day: as given, else of the account, else of all."""
    known = load_accounts(settings, with_keys=False).get(account) if account is not None else None
    if known is not None:
        return given or known.requests_per_second, known.requests_per_day
    return given or settings.leadbyte_requests_per_second, settings.leadbyte_requests_per_day or None


def _find_times(times: Path | None, account: str | None, deadline: float) -> Distribution:
    if times is not None:
        return learn_file(times, deadline)[0]
    if account is None:
        return guess_times(deadline)
    with command_engine() as engine:
        learned = read_learned(engine, account, replace(read_learning(), deadline=deadline))
    whole = next((each for each in learned if not each.schedule.campaign_id), None)
    if whole is None:
        raise NotFoundError(f"nothing is learned of account {account} yet; leave out --account for a guess")
    return whole.times


def _describe(outcome: Outcome) -> dict[str, Any]:
    polls = outcome.polls / max(outcome.leads, 1)
    return {**asdict(outcome), "polls_per_lead": polls, "wait_per_lead_seconds": _average_wait(outcome)}


def _average_wait(outcome: Outcome) -> float:
    return outcome.wait_seconds / max(outcome.resolved, 1)


def _print_outcomes(outcomes: dict[str, Outcome], load: Load, price: str) -> None:
    out.print(
        f"[bold]{count_leads(round(load.leads_per_day))} a day for {load.days:g} day{'s' if load.days != 1 else ''}[/]"
    )
    a_day = "" if load.requests_per_day is None else f" and {load.requests_per_day:,} a day"
    budget = f"{load.requests_per_second:g} requests a second{a_day}"
    out.print(f"[dim]{budget}, {price}[/]\n")
    told = {name: _tell(outcome) for name, outcome in outcomes.items()}
    rows = [{"": line, **{name: each[line] for name, each in told.items()}} for line in told["learned"]]
    print_table(rows, list(rows[0]))


def _tell(outcome: Outcome) -> dict[str, object]:
    caught_up, late = outcome.catch_up_seconds, say_age(outcome.longest_lateness_seconds)
    return {
        "leads": f"{outcome.leads:,}",
        "given up at the deadline": f"{outcome.given_up:,}",
        "polls": f"{outcome.polls:,}",
        "polls a lead": f"{outcome.polls / max(outcome.leads, 1):.2f}",
        "share of the budget": f"{outcome.busy_share:.1%}",
        "waiting, on average": say_age(_average_wait(outcome)),
        "backlog at its worst": f"{count_leads(outcome.most_overdue)}, {late} late",
        "caught up after the outage": "-" if caught_up is None else f"in {say_age(caught_up)}",
    }
