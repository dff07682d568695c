"""`lead-resolver schedule` and `simulate`: when leads resolve, when they are polled, and what that costs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.accounts import check_account_name
from worker.cli.common import AccountOption, AsJson, command_engine
from worker.cli.output import out, print_json
from worker.cli.schedule_page import count_leads, find_rivals, print_page
from worker.domain.learning.bounds import Bounds
from worker.domain.learning.distribution import Cost, Distribution
from worker.domain.learning.samples import Sample, learn_times, read_sample
from worker.domain.learning.schedule import Plan, make_plan
from worker.errors import UsageError
from worker.learning import Learned, read_learned
from worker.runtime import read_learning
from worker.schedule_book import name_schedule
from worker.settings import load_settings

app = typer.Typer()

A_WEEK = 604_800.0
MOST_POLLS = 100_000

TimesOption = Annotated[
    Path | None,
    typer.Option("--times", help="File of resolution times: seconds, or `never`, a line; - is stdin. No database."),
]
PriceOption = Annotated[
    float | None, typer.Option("--price", help="What a poll is worth in seconds of waiting.", show_default=False)
]
DeadlineOption = Annotated[
    float | None,
    typer.Option(
        "--deadline-hours",
        min=0.001,
        max=87_600,
        help="When to stop asking; else after a week (`simulate`: when the worker does).",
    ),
]


@app.command()
def schedule(
    account: AccountOption = None,
    times: TimesOption = None,
    price: PriceOption = None,
    deadline_hours: DeadlineOption = None,
    longest_gap_minutes: Annotated[
        float | None, typer.Option(min=0.001, help="With --times: no longer gap than this.", show_default=False)
    ] = None,
    first_minute_gap_seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="With --times: no longer gap in a lead's first minute.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """When leads resolve, the poll ages that follow from it, and what they cost beside other backoffs."""
    bounds = {"--longest-gap-minutes": longest_gap_minutes, "--first-minute-gap-seconds": first_minute_gap_seconds}
    _check_together(times, account, {"--price": price, "--deadline-hours": deadline_hours, **bounds})
    if times is None:
        _show_learned(None if account is None else check_account_name(account, "the account"), as_json=as_json)
        return
    distribution, sample = learn_file(times, A_WEEK if deadline_hours is None else deadline_hours * 3600)
    longest = None if longest_gap_minutes is None else longest_gap_minutes * 60
    if longest is not None and distribution.deadline / longest > MOST_POLLS:
        raise UsageError(
            f"--longest-gap-minutes: {longest_gap_minutes:g} is too short; at most {MOST_POLLS:,} polls a lead"
        )
    plan = make_plan(distribution, check_price(price), Bounds(longest, first_minute_gap_seconds))
    if as_json:
        print_json(describe_plan(plan))
    else:
        seen = len(sample.times) + sample.never
        does_any_resolve = any(time <= distribution.deadline for time in sample.times)
        print_page(f"{times}: {count_leads(seen)}", distribution, plan, does_any_resolve=does_any_resolve)


def _check_together(times: Path | None, account: str | None, others: Mapping[str, float | None]) -> None:
    """UsageError for options that would be ignored."""
    given = [name for name, value in others.items() if value is not None]
    if times is None and given:
        raise UsageError(f"{given[0]} goes with --times; what is learned goes by the settings")
    if times is not None and account is not None:
        raise UsageError("--times and --account: one of them, a file or what was learned")


def check_price(price: float | None) -> float:
    """The price given, else the setting's."""
    if price is None:
        return load_settings().lead_resolver_poll_price_seconds
    if not 0 < price <= 1e9:  # noqa: PLR2004 - thirty years
        raise UsageError(f"--price: {price:g} is none; expected seconds of waiting, more than 0 and at most 1e9")
    return price


def learn_file(path: Path, deadline: float) -> tuple[Distribution, Sample]:
    """The distribution behind a file of resolution times, and what the file said."""
    sample = read_sample(_read_text(path).splitlines(), str(path))
    return learn_times(sample.times, sample.never, deadline), sample


def _read_text(path: Path) -> str:
    if path == Path():
        raise UsageError("--times: names no file")
    try:
        return sys.stdin.buffer.read().decode() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--times {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--times {path}: is no text") from None


def describe_plan(plan: Plan) -> dict[str, Any]:
    """A plan for machines."""
    return {
        "ages": list(plan.ages),
        "expected_polls": plan.cost.polls,
        "expected_wait_seconds": plan.cost.wait_seconds,
        "price_seconds": plan.price,
    }


def _show_learned(account: str | None, *, as_json: bool) -> None:
    settings = load_settings()
    with command_engine() as engine:
        learned = read_learned(engine, account, read_learning())
    if as_json:
        print_json([_describe_learned(each) for each in learned])
        return
    if not learned:
        out.print("Nothing is learned yet: all leads are polled by the default schedule.")
    for each in learned:
        print_page(_title(each, settings.lead_resolver_poll_price_seconds), each.times, _make_plan(each))


def _title(learned: Learned, price: float) -> str:
    stored = learned.schedule
    dear = f", raised from {price:g} s to keep to the budget" if stored.price_seconds > price else ""
    return f"{name_schedule(stored)}: {count_leads(round(stored.leads))}, {stored.computed_at:%Y-%m-%d %H:%M} UTC{dear}"


def _make_plan(learned: Learned) -> Plan:
    stored = learned.schedule
    return Plan(stored.price_seconds, stored.ages, Cost(stored.expected_polls, stored.expected_wait_seconds))


def _describe_learned(learned: Learned) -> dict[str, Any]:
    stored = learned.schedule
    return {
        "account": stored.account,
        "campaign_id": stored.campaign_id or None,
        "version": stored.version,
        "computed_at": stored.computed_at,
        "leads": stored.leads,
        **describe_plan(_make_plan(learned)),
        "others": [
            {"name": rival.name, "polls": rival.cost.polls, "wait_seconds": rival.cost.wait_seconds}
            for rival in find_rivals(learned.times, stored.price_seconds)
        ],
    }
