"""`lead-resolver show`, `list`, `report`: what is known, and why."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.markup import escape

from worker.accounts import load_accounts
from worker.cli.common import AccountOption, AsJson, command_engine
from worker.cli.lead_page import print_lead
from worker.cli.output import out, print_json, print_table
from worker.domain.lifecycle import State
from worker.errors import NotFoundError, UsageError
from worker.evidence import find_evidence
from worker.explaining import explain_lead, say_pause, say_span
from worker.explaining_actions import say_open_actions
from worker.schedule_book import ScheduleBook
from worker.settings import load_settings
from worker.store import inquiries
from worker.store.db import read_clock, transaction
from worker.store.ledger import list_open_actions

app = typer.Typer()

_WIDE = 110  # columns from which a list has room for a column of reasons


class ReportBy(StrEnum):
    """How a report is grouped."""

    CAMPAIGN = "campaign"
    BUYER = "buyer"
    SUPPLIER = "supplier"
    DAY = "day"


@app.command()
def show(queue_id: str, account: AccountOption = None, as_json: AsJson = False) -> None:
    """Everything known about one lead, and which reply says so: state, facts, buyers, deliveries, events, and why."""
    settings = load_settings()
    accounts = load_accounts(settings, with_keys=False)
    with command_engine() as engine, transaction(engine) as connection:
        book = ScheduleBook(engine, settings.longest_gap, is_used=settings.lead_resolver_learn)
        leads = inquiries.read_leads(connection, queue_id, account)
        schedules = [book.choose_schedule(lead["account"], lead["campaign_id"], lead["row_id"]).name for lead in leads]
        for lead in leads:
            lead["actions"] = list_open_actions(connection, lead["row_id"])
        explained = [
            find_evidence(connection, lead.pop("row_id"), queue_id, accounts.get(lead["account"])) for lead in leads
        ]
    if not leads:
        raise NotFoundError(f"{queue_id[:70]} was never recorded here; `lead-resolver track` records queue IDs")
    if len(leads) > 1:
        names = ", ".join(lead["account"] for lead in leads)
        raise UsageError(f"{queue_id} is known under several accounts ({names}): say which with --account")
    why = f"{explain_lead(leads[0], schedules[0])}{say_open_actions(leads[0])}"
    lead = {**leads[0], "why": why, "explained": explained[0]}
    if as_json:
        print_json(lead)
    else:
        print_lead(lead)


@app.command(name="list")
def list_leads(
    state: Annotated[State | None, typer.Option(help="Only leads in this state.")] = None,
    account: AccountOption = None,
    campaign: Annotated[str | None, typer.Option(help="Only leads of this campaign (id or name, in any case).")] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only leads whose poll is late.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most this many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Leads, newest first, with the reason each is where it is."""
    wanted = inquiries.Filter(account, None if state is None else state.value, campaign, overdue, limit)
    with command_engine() as engine, transaction(engine) as connection:
        leads = inquiries.list_leads(connection, wanted)
        pipeline, now = inquiries.read_pipeline(connection), read_clock(connection)
    if as_json:
        print_json(leads)
        return
    if not leads:
        out.print("no lead fits")
    else:
        several = len({lead["account"] for lead in leads}) > 1
        columns = ["queue_id", "state", "age", "polls", "next", "why" if out.width >= _WIDE else "account"]
        rows = [_shorten(lead) for lead in leads]
        print_table(rows, [column for column in columns if column != "account" or several])
    _print_pauses(pipeline, now)
    if len(leads) == limit:
        out.print(f"[dim]the newest {limit}; --limit shows more[/]")


@app.command()
def report(
    first: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day, UTC.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, UTC.")] = None,
    by: Annotated[ReportBy, typer.Option(help="Group by this.")] = ReportBy.CAMPAIGN,
    as_json: AsJson = False,
) -> None:
    """Acceptance, sales, deliveries, money and time to resolve."""
    if first and last and last < first:
        raise UsageError("report: --to lies before --from")
    with command_engine() as engine, transaction(engine) as connection:
        rows = inquiries.read_report(connection, by, _day(first), _day(last))
        refusals = inquiries.read_refusals(connection, _day(first), _day(last))
        deliveries = inquiries.read_delivery_counts(connection, _day(first), _day(last))
    if as_json:
        print_json({by.value: rows, "refusals": refusals, "deliveries": deliveries})
        return
    print_report(by, rows)
    print_table(refusals, ["campaign", "result_code", "result_reason", "refused"], title="\nRefused by the campaign")
    print_table(deliveries, ["status", "reason", "deliveries"], title="\nDeliveries")


def print_report(by: str, rows: list[inquiries.Row], *, leave_out: frozenset[str] = frozenset()) -> None:
    """A report as a table, without the columns in which nothing ever happened."""
    if by == "buyer":
        print_table(rows, ["buyer", "sold", "other", "revenue", "currency"])
        return
    columns = [by, "submitted", "accepted", "refused", "sold", "unsold", "quarantined", "open", "returned", "abandoned",
               "revenue", "payout", "currency", "median_seconds_to_resolve"]  # fmt: skip
    # Held leads are open as well: a column that says nothing else is left out.
    idle = {column for column in ("quarantined", "returned", "abandoned") if not any(row[column] for row in rows)}
    if all(row["open"] == row["quarantined"] for row in rows):
        idle.add("open")
    print_table(rows, [column for column in columns if column not in idle | leave_out])


def _shorten(lead: inquiries.Row) -> dict[str, Any]:
    """A lead as one line of a list: moments as spans, which are what one looks for."""
    now, next_poll_at = lead["now"], lead["next_poll_at"]
    wait = None if next_poll_at is None else (next_poll_at - now).total_seconds()
    paused = lead["paused_until"] is not None and lead["paused_until"] > now
    coming = "asking" if lead["lease_until"] else "paused" if paused else "now" if (wait or 0) < 0 else None
    why = lead["state_reason"]
    return {
        **lead,
        "age": say_span((now - lead["submitted_at"]).total_seconds()),
        "next": None if wait is None else coming or f"in {say_span(wait)}",
        "why": why,
        # On a narrow terminal the reason stands under the ID rather than in a column too narrow to read.
        "queue_id": lead["queue_id"] if out.width >= _WIDE or not why else f"{lead['queue_id']}\n  {why}",
    }


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def _print_pauses(pipeline: list[inquiries.Row], now: datetime) -> None:
    for account in pipeline:
        if account["paused_until"] is not None and account["paused_until"] > now:
            out.print(f"[yellow]account {escape(account['account'])} is {escape(say_pause(account))}[/]")
