"""`lead-resolver quarantine list|show|update|release|reject|resolve`: held leads, and acting on them at most once."""

from __future__ import annotations

import getpass
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from sqlalchemy import Connection

from worker.accounts import load_accounts
from worker.cli.common import AccountOption, AsJson, command_engine
from worker.cli.output import out, print_json
from worker.cli.quarantine_ask import Wish, carry_out, parse_changes
from worker.cli.quarantine_page import print_ledger, print_story, style_action_state
from worker.domain.actions import KINDS, PLACEHOLDER
from worker.domain.holds import foretell_hold
from worker.errors import NotFoundError, UsageError
from worker.explaining_actions import say_next, tell_story
from worker.quarantine import resolve as resolve_action
from worker.settings import load_settings
from worker.store.db import transaction
from worker.store.holds import find_hold
from worker.store.ledger import Wanted, find_state, find_stories, list_ledger

app = typer.Typer(
    name="quarantine",
    help="Held leads: list them, update, release or reject them, each at most once.",
    rich_markup_mode=None,
)

_MOST = 2**63 - 1

IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", show_default=False, help="Queue IDs or quarantine IDs.")
]
FileOption = Annotated[
    Path | None, typer.Option("--file", "-f", help="IDs, one a line, or CSV with a header; - is standard input.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", show_default=False, help="New value of a field; may be repeated."),
]
ReasonOption = Annotated[str | None, typer.Option(help="Why, in one line; kept in the ledger.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who asks.", show_default="your login name")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the requests, values included, that would be sent; record nothing.")
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 8 unless all are confirmed.")]
TimeoutOption = Annotated[float, typer.Option(min=0, max=604_800, help="How long --wait waits, in seconds.")]


class Listed(StrEnum):
    """What `--state` takes."""

    NONE = "none"
    REQUESTED = "requested"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    UNSURE = "unsure"


@app.command("list")
def list_held(
    state: Annotated[Listed | None, typer.Option(help="Only actions in this state; none: without any.")] = None,
    account: AccountOption = None,
    held: Annotated[bool, typer.Option("--held", help="Only leads that are held now.")] = False,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only what waits for a person.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Also what is concluded and gone.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most this many, most urgent first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Held leads and the actions on them: first what waits for a person, then what is under way, then the rest."""
    wanted = Wanted(account, None if state is None else state.value, held, waiting, everything, limit)
    with command_engine() as engine, transaction(engine) as connection:
        rows = list_ledger(connection, wanted)
    if as_json:
        print_json(rows)
        return
    if not rows:
        out.print("no held lead or action fits")
    print_ledger(rows)
    if len(rows) == limit:
        out.print(f"[dim]the {limit} most urgent; --limit shows more[/]")


@app.command()
def show(
    held_id: Annotated[str, typer.Argument(metavar="ID", help="Queue ID or quarantine ID.")],
    account: AccountOption = None,
    as_json: AsJson = False,
) -> None:
    """The whole story of one held lead, what happens next and when, and what is for a person to say."""
    with command_engine() as engine, transaction(engine) as connection:
        found = find_stories(connection, held_id, account)
        state = None if found else find_state(connection, held_id, account)
        coming = [foretell for name, rows, _ in found for foretell in _foretell(connection, name, rows[-1]["queue_id"])]
    if state is not None:
        raise NotFoundError(f"lead {held_id} is {state}, and was never acted upon; `lead-resolver show` tells the rest")
    if not found:
        raise NotFoundError(f"nothing is known of {held_id[:70]!a}, neither as a queue ID nor as a quarantine ID")
    if len(found) > 1:
        names = ", ".join(sorted({name for name, _, _ in found}))
        raise UsageError(f"{held_id} is known under several accounts ({names}): say which with --account")
    ((_, rows, holds),) = found
    if as_json:
        actions = [{**row, "next": say_next(row, row["now"])} for row in rows if row["action_id"] is not None]
        print_json(
            {
                **{name: rows[-1][name] for name in _LEAD},
                "actions": actions,
                "by_rule": coming,
                "story": tell_story(rows, holds),
            }
        )
    else:
        print_story(rows, holds, coming)


def _foretell(connection: Connection, account: str, queue_id: str | None) -> list[str]:
    """What will be done about a held lead by rule."""
    configured = load_accounts(load_settings(), with_keys=False).get(account)
    hold = None if queue_id is None or configured is None else find_hold(connection, account, queue_id)
    if hold is None or configured is None:
        return []
    return list(foretell_hold(configured.choose_hold_rules(hold.campaign), hold))


_LEAD = ("account", "queue_id", "quarantine_id", "lead_state", "held_since", "age_seconds", "cycle")


def act(
    context: typer.Context,
    ids: IdsArgument = None,
    changes: SetOption = None,
    file: FileOption = None,
    account: AccountOption = None,
    reason: ReasonOption = None,
    by: ByOption = None,
    dry_run: DryRun = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 300.0,
    as_json: AsJson = False,
) -> int:
    """`update`, `release` and `reject`, whichever it is called by."""
    kind = next(kind for kind in KINDS if kind == context.info_name)
    if dry_run and wait:
        raise UsageError("--dry-run records nothing, so there is nothing to --wait for: leave one of them out")
    seconds, name = timeout if wait else None, by or read_login_name()
    return carry_out(Wish(kind, ids or [], file, changes or [], account, reason, name, dry_run, seconds, as_json))


for _kind, _help in (
    ("update", "Change fields of held leads."),
    ("release", "Release held leads into processing, with changed fields or as they are."),
    ("reject", "Reject held leads."),
):
    app.command(_kind, help=f"{_help} Asked for before counts as fine; what can't be is refused (exit code 2).")(act)


@app.command()
def resolve(
    action_id: Annotated[int, typer.Argument(min=1, max=_MOST, help="The action's number, as `list` shows it.")],
    done: Annotated[bool, typer.Option("--done", help="It happened: you saw it in LeadByte.")] = False,
    resend: Annotated[
        bool, typer.Option("--resend", help="It did not happen: send it again, its fields --set anew.")
    ] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="It did not happen, and is not to be sent (again).")
    ] = False,
    changes: SetOption = None,
    by: ByOption = None,
    as_json: AsJson = False,
) -> None:
    """Say what became of an action that nobody but a person can tell about."""
    if done + resend + withdraw != 1:
        said = "say --done if it happened; if it did not, --resend, or --withdraw to leave it at that"
        raise UsageError(f"quarantine resolve {action_id}: {said}")
    fields = parse_changes(changes or [])
    if fields and PLACEHOLDER in fields.values():
        raise UsageError(f"'{PLACEHOLDER}' stands for the value of a field: type the value itself; nothing was changed")
    with command_engine() as engine:
        resolved = resolve_action(
            engine, action_id, happened=done, by=by or read_login_name(), fields=fields, withdraw=withdraw
        )
    if as_json:
        print_json(resolved)
    else:
        state = style_action_state(resolved.state).rstrip()
        out.print(f"{state}  action {resolved.action_id}: {escape(resolved.message)}", soft_wrap=True)


def read_login_name() -> str:
    """Who is at the keyboard; where nobody is named, the number of the user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
