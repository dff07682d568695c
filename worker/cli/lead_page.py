"""What `lead-resolver show` prints: one lead, each fact beside the reply that it is from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from worker.cli.output import out, print_table, say_value, style_state
from worker.evidence import Evidence

_FACTS = (
    "reference", "submitted_at", "resolved_at", "seconds_to_resolve", "campaign_accepted", "lead_id", "rejection_id",
    "result_code", "result_reason", "processed_at", "processed_raw", "campaign_id", "campaign_name", "supplier_id",
    "supplier_name", "sold", "revenue", "payout", "payout_pending", "currency", "quarantine_id", "polls", "failures",
)  # fmt: skip
_BUYER = ("buyer_id", "buyer_bid", "buyer_name")


def print_lead(lead: Mapping[str, Any]) -> None:
    """A row of `worker.store.inquiries.read_leads` with `why` and `explained` (see `worker.evidence`)."""
    explained: Mapping[str, Evidence] = lead["explained"]
    out.print(f"[bold]{lead['queue_id']}[/]  {style_state(lead['state'])}  [dim]account {escape(lead['account'])}[/]")
    out.print(escape(say_value(lead["why"])) + "\n")
    _print_facts(lead, explained)
    _print_rows(lead, "buyers", ["buyer_name", "buyer_id", "buyer_bid", "status", "revenue", "currency", "reply"])
    _print_rows(
        lead, "deliveries", ["delivery_name", "delivery_id", "buyer_id", "status", "reason", "revenue", "reply"]
    )
    _print_rows(lead, "events", ["at", "from_state", "to_state", "cause"])
    _print_rows(lead, "replies", ["reply", "received_at", "http_status", "characters", "cut", "persisted"])


def _print_facts(lead: Mapping[str, Any], explained: Mapping[str, Evidence]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_column(style="dim")
    for name in _FACTS:
        if lead[name] is not None:
            source = _say_source(explained.get(name))
            grid.add_row(f"  {name.replace('_', ' ')}", escape(say_value(lead[name])), escape(source))
    out.print(grid)


def _say_source(evidence: Evidence | None) -> str:
    if evidence is None:
        return ""
    if evidence.reply is None:
        return evidence.said
    return f"reply {evidence.reply}, {say_value(evidence.received_at)}"


def _print_rows(lead: Mapping[str, Any], name: str, columns: list[str]) -> None:
    rows: list[dict[str, Any]] | None = lead[name]
    if rows is None:
        out.print(f"\n[bold]{name.capitalize()}[/] not told (the key may not append them)")
    elif not rows:
        out.print(f"\n[bold]{name.capitalize()}[/] none")
    else:
        sourced = [{**row, "reply": _find_reply(name, row, lead["explained"])} for row in rows]
        print_table(sourced, columns, title=f"\n{name.capitalize()}")


def _find_reply(kind: str, row: Mapping[str, Any], explained: Mapping[str, Evidence]) -> str | None:
    """The reply of a row, as text: an id is no amount."""
    if kind == "replies":
        return str(row["id"])
    if kind == "buyers":
        key = f"buyer {next((row[name] for name in _BUYER if row[name]), '?')}"
    else:
        loose = f"{row.get('delivery_name') or '?'}/{row.get('buyer_id') or '?'}"
        key = f"delivery {row.get('delivery_id') or loose}"
    evidence = explained.get(key)
    return None if evidence is None or evidence.reply is None else str(evidence.reply)
