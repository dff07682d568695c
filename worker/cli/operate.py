"""`lead-resolver migrate`, `config`, `doctor`, `pause`, `resume`, `redrive`: running it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from rich.markup import escape
from sqlalchemy.engine import make_url

from worker import operations
from worker.accounts import check_account_name, check_base_url_setting, list_account_names
from worker.cli.common import AccountOption, AsJson, command_engine
from worker.cli.output import err, out, print_json
from worker.doctor import examine
from worker.errors import UsageError
from worker.findings import Mark
from worker.leadbyte.choice import choose_transport
from worker.settings import Settings, list_unknown_variables, load_settings
from worker.store.db import transaction
from worker.store.health import read_rights
from worker.store.migrate import migrate_to_head
from worker.store.roles import say_missing

app = typer.Typer()

_MARKS = {Mark.OK: "[green]ok[/]     ", Mark.WARNING: "[yellow]warning[/]", Mark.FAILED: "[red]failed[/] "}


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema. Safe to run twice, and under load."""
    with command_engine() as engine:
        out.print(f"the database is at revision {migrate_to_head(engine)}")
        with transaction(engine) as connection:
            missing = say_missing(read_rights(connection))
    if missing is not None:
        err.print(f"[yellow]warning:[/] {escape(missing)}", soft_wrap=True)


@app.command()
def config(as_json: AsJson = False) -> None:
    """All settings with their values (secrets masked), defaults and meaning."""
    settings = load_settings()
    check_base_url_setting(settings)
    for warning in list_unknown_variables(os.environ):
        err.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    rows = list(_describe_settings(settings))
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            changed = "" if row["value"] == row["default"] else f"  [dim](default: {row['default'] or 'none'})[/]"
            out.print(f"[bold]{row['setting']}[/] = {escape(row['value'] or '')}{changed}", soft_wrap=True)
            out.print(f"    [dim]{escape(row['meaning'])}[/]", soft_wrap=True)


@app.command()
def doctor(as_json: AsJson = False) -> int:
    """Look at Postgres, Redis, keys, clocks and workers; says what to do. Exit code 1 if anything failed."""
    findings = []
    for finding in examine(load_settings()):
        findings.append(finding)
        if not as_json:
            out.print(
                f"{_MARKS[finding.mark]}  [bold]{escape(finding.subject)}[/]  {escape(finding.text)}", soft_wrap=True
            )
    if as_json:
        print_json(findings)
    return 1 if any(finding.mark is Mark.FAILED for finding in findings) else 0


@app.command()
def pause(
    account: str,
    reason: Annotated[str, typer.Option(help="Why; shown by list, doctor and the views.")] = "paused by an operator",
) -> None:
    """Ask nothing about an account's leads until it is resumed."""
    with command_engine() as engine:
        name = check_account_name(account, "the account")
        operations.pause(engine, name, reason, configured=list_account_names(load_settings()))
    out.print(f"{account} is paused; `lead-resolver resume {account}` goes on")


@app.command()
def resume(account: str) -> None:
    """End an account's pause, whatever its reason was."""
    with command_engine() as engine:
        was_paused = operations.resume(engine, check_account_name(account, "the account"))
    out.print(f"{account} goes on" if was_paused else f"{account} was not paused")


@app.command()
def redrive(
    queue_ids: Annotated[list[str] | None, typer.Argument(metavar="[QUEUE_ID]...", show_default=False)] = None,
    account: AccountOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All abandoned and parked leads.")] = False,
) -> None:
    """Ask again about leads that were abandoned or parked."""
    if not queue_ids and not everything:
        raise UsageError("redrive: name queue IDs, or all abandoned and parked leads with --all")
    with command_engine() as engine:
        count = operations.redrive(engine, account, queue_ids or None, load_settings().leadbyte_requests_per_second)
    out.print(f"{count:,} leads are asked about again")


def _describe_settings(settings: Settings) -> Iterator[dict[str, Any]]:
    for name, field in Settings.model_fields.items():
        yield {
            "setting": name.upper(),
            "value": _mask(getattr(settings, name)),
            "default": None if field.default is None else str(field.default),
            "meaning": f"{field.description}{_say_what_it_comes_to(name, settings)}",
        }


def _say_what_it_comes_to(name: str, settings: Settings) -> str:
    """Of a setting that leaves the choice to what is installed."""
    is_choice = name == "lead_resolver_transport"
    return f"; here: {choose_transport(settings.lead_resolver_transport)}" if is_choice else ""


def _mask(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, SecretStr):
        return str(value)
    text = value.get_secret_value()
    if "://" not in text:
        return "***"
    # Of a URL only the password is secret, which can stand in the query too; where it points to is what one checks.
    url = make_url(text)
    hidden = {name: "***" for name in url.query if "pass" in name.lower()}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)
