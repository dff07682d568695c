"""How the command line speaks: tables and sentences for people, JSON for machines, errors as one line on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from io import TextIOWrapper
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

STATE_STYLES = {
    "queued": "blue",
    "pending": "cyan",
    "quarantined": "yellow",
    "approved": "green",
    "rejected": "red",
    "returned": "magenta",
    "abandoned": "bold red",
}


def print_json(value: object) -> None:
    """One JSON document on stdout: moments in ISO 8601, money as exact decimal text."""
    is_ascii = out.options.ascii_only
    sys.stdout.write(json.dumps(value, default=_to_json, ensure_ascii=is_ascii, indent=2) + "\n")


def bear_any_encoding() -> None:
    """What the terminal's encoding has no character for is shown as a question mark, and ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


# Headings that would be wider than what stands under them.
_HEADINGS = {
    "submitted": "leads", "accepted": "accept", "refused": "refuse", "quarantined": "held", "currency": "",
    "median_seconds_to_resolve": "secs",
}  # fmt: skip


_WHOLE = frozenset({"queue_id", "state", "age", "next"})


def print_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, title: str | None = None) -> None:
    """Rows under the columns named, which are keys of the rows; numbers to the right, nothing as a dash."""
    rows = list(rows)
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="dim",
    )
    for column in columns:
        is_number = any(isinstance(row[column], int | float | Decimal) and row[column] is not True for row in rows)
        heading = _HEADINGS.get(column, column.replace("_", " "))
        is_whole = is_number or column in {columns[0], *_WHOLE}  # breaking it would cost more than it saves
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold", no_wrap=is_whole)
    for row in rows:
        table.add_row(*(_style(column, row[column]) for column in columns))
    out.print(table)


def print_error(text: str) -> None:
    """One line on stderr; what follows it (the end of a log, say) stays as it is."""
    line, *rest = text.strip().splitlines() or [""]
    err.print(f"[bold red]lead-resolver:[/] {escape(line)}", soft_wrap=True)
    if rest:
        err.print("\n".join(rest), style="dim", soft_wrap=True, markup=False)


def say_value(value: object) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return say_money(value)
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    # What others wrote must not steer the terminal.
    return "".join(character if character.isprintable() else " " for character in str(value))


def say_money(amount: Decimal) -> str:
    """At least two decimals, more only where there are more: `12.50`, `0.125`."""
    return f"{amount:,.2f}" if amount == round(amount, 2) else f"{amount.normalize():,f}"


def style_state(state: str) -> str:
    """The state in its colour."""
    return f"[{STATE_STYLES[state]}]{state}[/]"


def _style(column: str, value: object) -> str:
    text = say_value(value)
    return style_state(text) if column == "state" and text in STATE_STYLES else escape(text)


def _to_json(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return say_money(value).replace(",", "")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)
