"""What `lead-resolver quarantine list` and `show` print: held leads, what was asked for, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from worker.cli.output import out, say_value, style_state
from worker.domain.actions import name_commands
from worker.explaining import say_span
from worker.explaining_actions import name_action, say_next, say_why, tell_story
from worker.store.ledger import Row

_STYLES = {
    "requested": "blue",
    "sent": "cyan",
    "acknowledged": "cyan",
    "confirmed": "green",
    "refused": "red",
    "unsure": "bold yellow",
}
_WIDEST_STATE = max(map(len, _STYLES))
WAITING, UNDER_WAY, HELD, CONCLUDED = "Waits for a person", "Under way", "Held", "Concluded"


def style_action_state(state: str) -> str:
    """The state of an action in its colour, as wide as the widest."""
    return f"[{_STYLES[state]}]{state:{_WIDEST_STATE}}[/]"


def print_commands(action_id: int, field_names: Sequence[str]) -> None:
    """The two commands that a person chooses from, on lines that can be copied."""
    done, resend = name_commands(action_id, field_names)
    out.print(f"    [dim]it happened:[/]    {done}", soft_wrap=True)
    out.print(f"    [dim]it did not:[/]     {escape(resend)}", soft_wrap=True)


def print_ledger(rows: Sequence[Row]) -> None:
    """The rows of `worker.store.ledger.list_ledger`, under the headings they are ordered by."""
    several = len({row["account"] for row in rows}) > 1
    for number, (heading, section) in enumerate(groupby(rows, key=find_section)):
        out.print(f"[bold]{heading}[/]" if not number else f"\n[bold]{heading}[/]")
        for _, lead in groupby(section, key=lambda row: (row["account"], row["queue_id"], row["quarantine_id"])):
            _print_lead(list(lead), several=several)


def find_section(row: Row) -> str:
    """The heading a row stands under."""
    if row["waits_for_person"]:
        return WAITING
    if row["is_open"]:
        return UNDER_WAY
    return HELD if row["is_current"] else CONCLUDED


def print_story(rows: Sequence[Row], holds: Sequence[Row], coming: Sequence[str]) -> None:
    """One held lead: how it stands, all that happened in order, and what happens next; `coming`: by rule."""
    latest = rows[-1]
    _print_head(latest)
    out.print("")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(justify="right", style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for moment in tell_story(rows, holds):
        said = f"[dim]: {escape(say_value(moment.said))}[/]" if moment.said else ""
        number = "" if moment.action is None else f"#{moment.action}"
        grid.add_row(say_value(moment.at), number, f"{escape(moment.what)}{said}")
    out.print(grid)
    out.print("\n[bold]Next[/]")
    for line in _say_what_is_next(rows, coming):
        out.print(Padding(line, (0, 0, 0, 2), expand=False))
    for row in rows:
        if row["waits_for_person"]:
            print_commands(row["action_id"], row["fields"])


def _print_lead(rows: Sequence[Row], *, several: bool) -> None:
    first = rows[0]
    now = first["now"]
    queue_id = escape(first["queue_id"] or "(no lead known here)")
    held_id = f"[dim]quarantine ID[/] {escape(say_value(first['quarantine_id'] or 'not told'))}"
    account = f"  [dim]{escape(first['account'])}[/]" if several else ""
    out.print(f"{queue_id}  {held_id}{account}  {_say_hold(first)}", soft_wrap=True)
    for row in rows:
        if row["action_id"] is not None:
            _print_action(row, now)


def _print_action(row: Row, now: datetime) -> None:
    ago = say_span((now - row["requested_at"]).total_seconds())
    who = "policy" if row["by_policy"] else say_value(row["requested_by"])
    state = style_action_state(row["action_state"])
    out.print(f"  {state}  {name_action(row)} by {escape(who)} {ago} ago", soft_wrap=True)
    why = say_why(row) or row["reason"]
    if why:
        out.print(Padding(f"[dim]{escape(say_value(why))}[/]", (0, 0, 0, 4), expand=False))
    if row["waits_for_person"]:
        print_commands(row["action_id"], row["fields"])


def _print_head(row: Row) -> None:
    held = f"  [dim]quarantine ID[/] {escape(say_value(row['quarantine_id'] or 'not told'))}"
    state = style_state(row["lead_state"]) if row["lead_state"] else "[dim]its lead is not known here[/]"
    name = f"[bold]{escape(row['queue_id'])}[/]" if row["queue_id"] else "[bold]held lead[/]"
    out.print(f"{name}  {state}{held}  [dim]account {escape(row['account'])}[/]", soft_wrap=True)
    if row["held_since"] is not None:
        out.print(f"{_say_hold(row)}, since {say_value(row['held_since'])} UTC")


def _say_hold(row: Row) -> str:
    if row["held_since"] is None:
        return f"[dim]{row['lead_state'] or ''}[/]"
    cycle = f", for the {_say_order(row['cycle'])} time" if row["cycle"] > 1 else ""
    return f"held for {say_span(row['age_seconds'])}{cycle}"


def _say_order(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if 10 < number % 100 < 14 else endings.get(number % 10, 'th')}"  # noqa: PLR2004 - 11th to 13th


def _say_what_is_next(rows: Sequence[Row], coming: Sequence[str]) -> Iterator[str]:
    latest: dict[str, Any] = rows[-1]
    pending = [row for row in rows if row["is_open"]]
    for row in pending:
        yield f"[bold]{escape(name_action(row))}[/] {escape(say_next(row, row['now']))}"
    if pending:
        return
    if latest["held_since"] is None:
        yield "nothing: it is no longer held, and no action on it is open"
        return
    given = escape(say_value(latest["queue_id"] or latest["quarantine_id"]))
    for what in coming:
        yield escape(f"{what}, unless somebody acts before")
    if not coming:
        yield "nothing by itself: it is held until somebody acts, in LeadByte or here"
    yield f"[dim]to release it:[/] lead-resolver quarantine release {given}"
