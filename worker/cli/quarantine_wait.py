"""Waiting for actions on held leads to come to their end: progress on stderr, and what came of each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine

from worker.cli.output import err, out, say_value
from worker.cli.quarantine_page import print_commands, style_action_state
from worker.domain.actions import Kind
from worker.errors import DatabaseUnavailable, NotConfirmedError
from worker.explaining_actions import say_why
from worker.store.db import transaction
from worker.store.ledger import Row, read_progress

LOOK_EVERY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Awaited:
    """How far the actions had come when the waiting ended."""

    actions: Sequence[Row]
    timed_out: bool
    kind: Kind  # what was asked for: another action on the lead may have been there before

    def show(self) -> None:
        """A line for each, and what to do about those that wait for a person."""
        for action in self.actions:
            behind = action["waits_behind"]
            why = f"waits until action {behind} on this lead is concluded" if behind else say_why(action)
            said = f"[dim]: {escape(say_value(why))}[/]" if why else ""
            state = style_action_state(action["action_state"])
            out.print(f"{state}  {escape(action['id'])}  {action['action']}{said}", soft_wrap=True)
            if action["waits_for_person"]:
                print_commands(action["action_id"], action["fields"])
            elif behind:
                print_commands(behind, action["fields_before"])

    def check(self) -> None:
        """NotConfirmedError unless all are confirmed."""
        counts = Counter(_find_end(action, self.kind) for action in self.actions)
        confirmed = counts.pop("confirmed", 0)
        if counts:
            said = ", ".join(f"{count} {end}" for end, count in sorted(counts.items()))
            hint = "; `lead-resolver doctor` says whether a worker runs" if counts["not sent yet"] else ""
            raise NotConfirmedError(f"{confirmed} of {len(self.actions)} actions are confirmed, {said}{hint}")


def wait_for_end(engine: Engine, kind: Kind, ids: Mapping[int, str], timeout_seconds: float) -> Awaited:
    """Look at these actions, each with the ID it was asked for by, until all have come to their end."""
    until = time.monotonic() + timeout_seconds
    columns = (TextColumn("waiting for LeadByte"), BarColumn(), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_interactive) as progress:
        task = progress.add_task("", total=len(ids), said="")
        actions = list[Row]()
        while True:
            try:
                actions = _look(engine, ids)
            except DatabaseUnavailable:  # the actions go on without us: no reason to end the waiting
                if time.monotonic() >= until:
                    raise
            ended = sum(_has_ended(action) for action in actions)
            progress.update(task, completed=ended, said=_say_counts(actions, kind))
            if ended == len(actions) > 0 or time.monotonic() >= until:
                return Awaited(actions, ended < len(actions), kind)
            time.sleep(min(LOOK_EVERY_SECONDS, max(0.0, until - time.monotonic())))


def _look(engine: Engine, ids: Mapping[int, str]) -> list[Row]:
    with transaction(engine) as connection:
        rows = {row["action_id"]: row for row in read_progress(connection, ids.keys())}
    return [{"id": given, **rows[number]} for number, given in ids.items() if number in rows]


def _has_ended(action: Mapping[str, Any]) -> bool:
    """Or waits for a person, which may take longer than anybody waits here."""
    is_stuck = action["waits_for_person"] or action["waits_behind"] is not None
    return is_stuck or action["action_state"] in {"confirmed", "refused"}


def _find_end(action: Mapping[str, Any], kind: Kind) -> str:
    if action["action"] != kind and action["action_state"] == "confirmed":
        return f"not to {kind}, but to {action['action']}"
    if action["waits_for_person"]:
        return "waiting for a person"
    if action["waits_behind"]:
        return "behind an earlier action that waits for a person"
    return "not sent yet" if action["action_state"] == "requested" else str(action["action_state"])


def _say_counts(actions: Sequence[Mapping[str, Any]], kind: Kind) -> str:
    counts = Counter(_find_end(action, kind) for action in actions)
    return ", ".join(f"{count} {end}" for end, count in sorted(counts.items()))
