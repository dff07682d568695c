"""`lead-resolver replay`: read the journal again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from worker.accounts import load_accounts
from worker.cli.common import AccountOption, AsJson, command_engine
from worker.cli.output import err, out, print_json
from worker.replaying import Change, Replayed
from worker.replaying import replay as replay_journal
from worker.results import Rules
from worker.runtime import read_recheck
from worker.settings import load_settings
from worker.store.journal import Chosen

app = typer.Typer()


@app.command()
def replay(
    queue_ids: Annotated[list[str] | None, typer.Option("--queue-id", help="Only this lead; may be repeated.")] = None,
    account: AccountOption = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Only leads told about since, UTC."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read all journalled replies again with today's reader, and record what it understands. Asks LeadByte nothing."""
    chosen = Chosen(account, queue_ids or None, None if since is None else since.replace(tzinfo=UTC))
    rules = Rules(load_accounts(load_settings(), with_keys=False), read_recheck())
    leads, incomplete, changes = 0, 0, list[Change]()
    with command_engine() as engine:
        for page in replay_journal(engine, chosen, rules, dry_run=dry_run):
            leads += page.leads
            incomplete += page.incomplete
            changes += page.changes
            if not as_json:
                _print_page(page, leads)
    if as_json:
        counts = {"leads": leads, "incomplete": incomplete, "changed": len(changes)}
        print_json({**counts, "dry_run": dry_run, "changes": changes})
    else:
        verb = "would change" if dry_run else "changed"
        out.print(f"{leads:,} leads replayed, {len(changes):,} {verb}")
        if incomplete:
            out.print(f"of {incomplete:,} old replies were forgotten: the rest was read on top of what is recorded")


def _print_page(page: Replayed, so_far: int) -> None:
    for change in page.changes:
        facts = "; ".join(f"{name}: {before} → {after}" for name, (before, after) in change.facts.items())
        out.print(f"[bold]{change.queue_id}[/]  {escape(facts)}", soft_wrap=True)
    if err.is_terminal:
        err.print(f"[dim]{so_far:,} leads replayed[/]", end="\r")
