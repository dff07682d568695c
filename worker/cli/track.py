"""`lead-resolver track`: record queue IDs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from worker import intake
from worker.accounts import choose_account, list_account_names
from worker.cli.common import AccountOption, AsJson, command_engine
from worker.cli.id_file import open_file
from worker.cli.output import out, print_error, print_json
from worker.errors import UsageError
from worker.settings import load_settings
from worker.submissions import Item, read_submissions

app = typer.Typer()

MOST_REFUSALS_SHOWN = 20


@app.command()
def track(
    queue_ids: Annotated[list[str] | None, typer.Argument(metavar="[QUEUE_ID]...", show_default=False)] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", help="Lines, CSV with a header, JSON lines, or LeadByte's own answer; - is stdin."
        ),
    ] = None,
    account: AccountOption = None,
    reference: Annotated[str | None, typer.Option(help="Your own reference, with a single queue ID.")] = None,
    as_json: AsJson = False,
) -> int:
    """Record queue IDs to be resolved. Known ones change nothing; malformed ones are refused one by one (exit 2)."""
    if not queue_ids and file is None:
        raise UsageError("track: name queue IDs, or a file of them with --file (- is standard input)")
    settings = load_settings()
    name = choose_account(settings, account)
    if name not in (known := list_account_names(settings)) and known:
        print_error(f"account {name} is not configured (but {', '.join(known)}): its leads wait until it is")
    rate = settings.leadbyte_requests_per_second
    totals = _Totals()
    with command_engine() as engine, _open_items(queue_ids or [], file, reference) as items:
        for batch in intake.track(engine, name, items, requests_per_second=rate):
            totals.add(batch)
    totals.show(as_json=as_json)
    return 2 if totals.refused else 0


class _Totals:
    def __init__(self) -> None:
        self.new = self.known = self.refused = 0
        self.refusals: list[intake.Refusal] = []

    def add(self, batch: intake.Tracked) -> None:
        self.new += batch.new
        self.known += batch.known
        self.refused += len(batch.refused)
        for refusal in batch.refused[: MOST_REFUSALS_SHOWN - len(self.refusals)]:
            self.refusals.append(refusal)
            where = "" if refusal.line is None else f"line {refusal.line}: "
            print_error(f"{where}{refusal.reason}")

    def show(self, *, as_json: bool) -> None:
        if as_json:
            counts = {"new": self.new, "known": self.known, "invalid": self.refused}
            print_json({**counts, "refusals": self.refusals})
            return
        if self.refused > len(self.refusals):
            print_error(f"and {self.refused - len(self.refusals):,} more refusals like these")
        out.print(f"{self.new:,} new, {self.known:,} known, {self.refused:,} invalid")


@contextmanager
def _open_items(queue_ids: list[str], file: Path | None, reference: str | None) -> Iterator[Iterator[Item]]:
    named = (intake.Submission(queue_id, reference) for queue_id in queue_ids)
    if file is None:
        yield named
    elif str(file) == "-":
        yield _chain(named, read_submissions(sys.stdin.buffer))
    else:
        with open_file(file, "recording") as stream:
            yield _chain(named, read_submissions(stream))


def _chain(*parts: Iterator[Item]) -> Iterator[Item]:
    for part in parts:
        yield from part
