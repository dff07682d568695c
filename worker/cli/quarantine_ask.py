"""Asking for actions on held leads: which IDs, what is to be said of each, what would be sent, and to what end it came.

Neighbours: `worker.cli.quarantine` has the commands, `worker.cli.quarantine_wait` waits for the end.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rich.markup import escape
from sqlalchemy import Engine

from worker.accounts import Account, choose_account, list_account_names, load_accounts
from worker.cli.common import command_engine
from worker.cli.id_file import open_file
from worker.cli.output import err, out, print_error, print_json
from worker.cli.quarantine_wait import Awaited, wait_for_end
from worker.domain.actions import Kind
from worker.errors import NotFoundError, SettingsError, UsageError
from worker.intake import Refusal, Submission
from worker.leadbyte.acting import Call
from worker.leadbyte.wire import make_storable
from worker.previewing import compose_calls
from worker.quarantine import BATCH, Requested, request_actions
from worker.settings import load_settings
from worker.submissions import Item, read_submissions

_HEADERS = (("X_KEY", "***"), ("Content-Type", "application/json"))
_LONGEST_QUOTE = 70
_ID_NAMES = ("quarantineid", "queueid", "queueref", "id")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for, of which IDs, and how it is to be answered."""

    kind: Kind
    ids: Sequence[str]
    file: Path | None
    changes: Sequence[str] = field(repr=False)
    account: str | None
    reason: str | None
    by: str
    dry_run: bool
    timeout_seconds: float | None  # None: don't wait
    as_json: bool


@dataclass
class _Totals:
    """What is kept until the end; of a long file only what is wanted there."""

    counts: Counter[str] = field(default_factory=Counter)
    asked: list[dict[str, Any]] = field(default_factory=list)
    actions: dict[int, str] = field(default_factory=dict)
    unknown: int = 0  # of those refused: no such lead

    @property
    def exit_code(self) -> int:
        """Bad input outweighs what is not there."""
        if self.counts["refused"] > self.unknown:
            return UsageError.exit_code
        return NotFoundError.exit_code if self.unknown else 0


def carry_out(wish: Wish) -> int:
    """Ask for it, or show what would be sent; returns the exit code."""
    if not wish.ids and wish.file is None:
        raise UsageError(f"quarantine {wish.kind}: name held leads by queue ID or quarantine ID, or a --file of them")
    settings = load_settings()
    name = choose_account(settings, wish.account)
    account = load_accounts(settings, with_keys=False).get(name)
    if wish.dry_run and account is None:
        raise SettingsError(f"account {name} is not configured, so what would be sent can't be told")
    if account is None and (known := list_account_names(settings)):
        print_error(f"account {name} is not configured (but {', '.join(known)}): its actions wait until it is")
    fields = parse_changes(wish.changes)
    totals, calls = _Totals(), list[Call]()
    with command_engine() as engine:
        with _open_items(wish) as items:
            for asked in _ask(engine, wish, name, fields, items, totals):
                calls += compose_calls(wish.kind, asked, fields) if wish.dry_run else []
        awaited = None
        if wish.timeout_seconds is not None and totals.actions:
            awaited = wait_for_end(engine, wish.kind, totals.actions, wish.timeout_seconds)
    _say_end(wish, totals, calls, account, awaited)
    if awaited is not None:
        awaited.check()
    return totals.exit_code


def parse_changes(changes: Sequence[str]) -> Mapping[str, str] | None:
    """`field=value` each; None without any. UsageError quotes nothing: what has no '=' may be a value."""
    fields, seen = dict[str, str](), set[str]()
    for number, change in enumerate(changes, 1):
        name, is_there, value = change.partition("=")
        if not is_there or not name.strip():
            raise UsageError(f"--set number {number} is not field=value (it is not repeated here); nothing was done")
        if (folded := name.strip().casefold()) in seen:
            raise UsageError(f"--set number {number} sets a field that was set before; nothing was done")
        seen.add(folded)
        fields[name.strip()] = value
    return fields or None


def _ask(
    engine: Engine,
    wish: Wish,
    account: str,
    fields: Mapping[str, str] | None,
    items: Iterator[Item],
    totals: _Totals,
) -> Iterator[list[Requested]]:
    """Batch by batch: each is recorded before the next is read."""
    while batch := list(islice(items, BATCH)):
        lines = {item.queue_id: item.line for item in reversed(batch) if isinstance(item, Submission)}
        done = request_actions(
            engine, account, wish.kind, list(lines), requested_by=wish.by, fields=fields, reason=wish.reason,
            only_try=wish.dry_run,
        )  # fmt: skip
        by_id = {one.id: one for one in done}
        for item in batch:
            if isinstance(item, Refusal):
                _note(wish, totals, Requested("", None, "refused", item.reason), item.line)
            elif (one := by_id.pop(make_storable(item.queue_id), None)) is not None:  # one given twice is told once
                _note(wish, totals, one, item.line)
        yield done


def _note(wish: Wish, totals: _Totals, one: Requested, line: int | None) -> None:
    totals.counts[one.outcome] += 1
    totals.unknown += one.is_unknown
    if one.action_id is not None and not wish.dry_run:
        totals.actions[one.action_id] = one.id
    if wish.as_json:
        number = None if wish.dry_run and one.outcome == "requested" else one.action_id
        totals.asked.append({**asdict(one), "id": one.id or None, "line": line, "action_id": number})
    if one.outcome == "refused":
        _say_refused(one.id, line, one.said)
    elif not wish.as_json:
        _say_asked(wish, one)


def _say_asked(wish: Wish, one: Requested) -> None:
    if one.outcome == "requested" and wish.dry_run:
        said = f"[green]would be requested[/]  {escape(one.id)}"
    elif one.outcome == "requested":
        said = f"[green]requested[/]          {escape(one.id)}  [dim]{wish.kind}, action {one.action_id}[/]"
    else:
        who = one.said.removeprefix("already requested: ")
        style = "cyan" if who.startswith(f"{wish.kind} ") else "bold yellow"  # another way out was taken before
        said = f"[{style}]already requested[/]  {escape(one.id)}  [dim]action {one.action_id}: {escape(who)}[/]"
    # Beside a bar on the same terminal only the bar's own console keeps them apart.
    console = err if wish.file is not None and err.is_interactive and out.is_terminal else out
    console.print(said, soft_wrap=True)


def _say_refused(given: str, line: int | None, said: str) -> None:
    where = "" if line is None else f"line {line}: "
    quoted = "" if given in said else f"{given[:_LONGEST_QUOTE]!a}: "
    print_error(f"{where}{quoted}{said}")


def _say_end(
    wish: Wish, totals: _Totals, calls: Sequence[Call], account: Account | None, awaited: Awaited | None
) -> None:
    if wish.as_json:
        _print_document(wish, totals, calls, account, awaited)
        return
    if wish.dry_run and account is not None:
        for call in calls:
            _print_call(account, call)
        out.print("")
    if awaited is not None:
        awaited.show()
        return
    counts = totals.counts
    would = "would be " if wish.dry_run else ""
    out.print(
        f"[bold]{counts['requested']:,} {would}requested[/], {counts['already requested']:,} already requested, "
        f"{counts['refused']:,} refused{'; nothing was recorded' if wish.dry_run else ''}"
    )


def _print_document(
    wish: Wish, totals: _Totals, calls: Sequence[Call], account: Account | None, awaited: Awaited | None
) -> None:
    document: dict[str, Any] = {
        "action": wish.kind,
        "requested": totals.counts["requested"],
        "already_requested": totals.counts["already requested"],
        "refused": totals.counts["refused"],
        "ids": totals.asked,
    }
    if wish.dry_run and account is not None:
        requests = [
            {"method": call.method, "url": _write_url(account, call), "headers": dict(_HEADERS), "body": call.body}
            for call in calls
        ]
        document |= {"dry_run": True, "requests": requests}
    if awaited is not None:
        document |= {"timed_out": awaited.timed_out, "actions": awaited.actions}
    print_json(document)


def _print_call(account: Account, call: Call) -> None:
    """The one place where field values are shown: by whom they were typed, and because it is the request."""
    out.print(f"\n[bold]{call.method} {escape(_write_url(account, call))}[/]", soft_wrap=True)
    for name, value in _HEADERS:
        out.print(f"[dim]{name}: {value}[/]")
    out.print(f"\n{escape(call.content)}", soft_wrap=True)


def _write_url(account: Account, call: Call) -> str:
    return f"{account.base_url}/{call.path}"


@contextmanager
def _open_items(wish: Wish) -> Iterator[Iterator[Item]]:
    named = map(Submission, wish.ids)
    if wish.file is None:
        yield named
    elif str(wish.file) == "-":
        yield chain(named, read_submissions(sys.stdin.buffer, _ID_NAMES))
    else:
        with open_file(wish.file, "reading") as stream:
            yield chain(named, read_submissions(stream, _ID_NAMES))
