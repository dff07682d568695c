"""What the chaos run came to: each action in the ledger against the sandbox's own log of what took effect."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from tests.quarantine.chaos_plan import MARK
from tests.quarantine.chaos_run import Chaos
from tests.quarantine.held_stage import Sql
from worker.domain.actions import MOST_ATTEMPTS, name_commands
from worker.sandbox import SandboxClient

WAYS = {"release": "process", "reject": "reject", "update": "update"}
_ROWS = """
    select to_jsonb(a) || jsonb_build_object('said', q.message)
    from resolver.actions a join reporting.quarantine q on q.action_id = a.id order by a.id
"""
_TABLES = (
    "select table_name from information_schema.tables where table_schema = 'resolver' and table_type = 'BASE TABLE'"
)


@dataclass(frozen=True)
class World:
    """What really happened: effects by (quarantine ID, action, who), and requests that reached LeadByte's desk."""

    effects: Counter[tuple[str, str, str]]
    requests: Counter[tuple[str, str]]

    def shows(self, row: dict[str, Any]) -> bool:
        """Whether all that the action asked for took effect by our request."""
        wanted = {WAYS[row["kind"]], *(["update"] if row["field_names"] else [])}
        return all(self.effects[row["quarantine_id"], action, "api"] for action in wanted)

    def shows_person(self, row: dict[str, Any]) -> bool:
        """Whether somebody in LeadByte moved the lead."""
        return any(self.effects[row["quarantine_id"], action, "person"] for action in ("process", "reject"))


def read_world(box: SandboxClient) -> World:
    """After whatever is due has been carried out."""
    box.advance(1)
    box.act_as_person(1, "process")  # no such lead; it has the sandbox carry out what is due
    effects = Counter((str(e["quarantine_id"]), e["action"], e["by"]) for e in box.actions())
    asked = box.calls()["quarantine_requests"]
    requests = Counter({(held, action): times for held, many in asked.items() for action, times in many.items()})
    return World(effects, requests)


def judge(
    sql: Sql, box: SandboxClient, *, unprocessed: Collection[str] = (), resent: Collection[int] = ()
) -> tuple[Counter[str], list[str]]:
    """How many actions came to which end, and every violation as a sentence.

    `unprocessed`: leads of which LeadByte promises and forgets; `resent`: actions that a person had sent again.
    """
    world = read_world(box)
    rows = [row for (row,) in sql(_ROWS)]
    ends = Counter(f"{row['state']}: {_name_end(row, world)}" for row in rows)
    found = [*_find_doubled(rows, world, unprocessed, resent), *_find_lost(rows, world), *_find_values(sql)]
    found += [
        f"LOST, though nobody forgot it: {row}"
        for row in rows
        # Values travel several leads to a request; one that is forgotten has its companions forgotten as well.
        if _name_end(row, world).startswith("overdue") and not row["field_names"]
        and row["quarantine_id"] not in unprocessed
    ]  # fmt: skip
    return ends, found


def _find_doubled(
    rows: list[dict[str, Any]], world: World, unprocessed: Collection[str], resent: Collection[int]
) -> Iterator[str]:
    """Effects, and requests that reached the desk, where the second of two could do nothing any more."""
    asked: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for action in {WAYS[row["kind"]], *(["update"] if row["field_names"] else [])}:
            asked[row["quarantine_id"], action] += 1 + (row["id"] in resent)
    for (held, action, by), times in world.effects.items():
        if by == "api" and times > (asked[held, action] if action == "update" else 1):
            yield f"doubled: {action} of {held} took effect {times} times"
    for (held, action), times in world.requests.items():
        if times > asked[held, action] and held not in unprocessed:
            yield f"doubled: {action} of {held} was requested {times} times for {asked[held, action]} actions"
    ways = Counter((row["quarantine_id"], row["kind"]) for row in rows if row["state"] != "refused")
    yield from (f"doubled: {times} actions for one {key}" for key, times in ways.items() if times > 1)


def _find_lost(rows: list[dict[str, Any]], world: World) -> Iterator[str]:
    for row in rows:
        if _name_end(row, world).startswith("LOST"):
            yield f"{_name_end(row, world)}: {row}"


def _name_end(row: dict[str, Any], world: World) -> str:
    return {
        "confirmed": _name_confirmed,
        "refused": _name_refused,
        "acknowledged": _name_acknowledged,
        "unsure": _name_unsure,
        "requested": _name_requested,
    }.get(row["state"], lambda _row, _world: "LOST, nobody minds it")(row, world)


def _name_confirmed(row: dict[str, Any], world: World) -> str:
    if world.shows(row):
        return f"took effect, done by {row['done_by']}"
    if row["kind"] != "update" and world.shows_person(row):
        return "a person overtook it"
    return "LOST, without an effect"


def _name_refused(row: dict[str, Any], world: World) -> str:
    if not row["said"]:
        return "LOST, without a word"
    if row["done_by"] == "somebody else":
        return "a person acted first" if world.shows_person(row) else "LOST, nobody else acted"
    return "in LeadByte's words, or a person's" if not world.shows(row) else _name_refused_twin(row, world)


def _name_refused_twin(row: dict[str, Any], world: World) -> str:
    # What was refused may be asked for again, and then take effect.
    held = row["quarantine_id"]
    return "asked for again" if world.requests[held, WAYS[row["kind"]]] <= 1 else "LOST, refused with an effect"


def _name_acknowledged(row: dict[str, Any], world: World) -> str:
    if row["lead_id"] is None and "can't be told" in row["said"]:
        return f"no way to look, reported ({'took effect' if world.shows(row) else 'never done'})"
    if "never processed it" in row["said"] and _has_commands(row) and not world.shows(row):
        return "overdue and reported, never done"
    return "LOST, and not reported"


def _name_unsure(row: dict[str, Any], world: World) -> str:
    if not _has_commands(row):
        return "LOST, without a word to a person"
    if row["attempts"] >= MOST_ATTEMPTS and not world.shows(row):
        return "waits for a person: sent as often as may be, and never done"
    why = "no known queue ID" if row["lead_id"] is None else row["kind"] if row["kind"] == "update" else "both in one"
    if row["lead_id"] is not None and not row["field_names"]:
        return f"LOST to a person, though it could be looked up ({row['said']})"
    return f"waits for a person: {why} ({'took effect' if world.shows(row) else 'did not happen'})"


def _name_requested(row: dict[str, Any], _world: World) -> str:
    waits = re.match(r"waits until action \d+ on this lead is concluded", row["said"] or "")
    return "waits behind an unsure one" if waits else "LOST, never sent"


def _has_commands(row: dict[str, Any]) -> bool:
    return all(f"`{command}`" in row["said"] for command in name_commands(row["id"], row["field_names"]))


def _find_values(sql: Sql) -> Iterator[str]:
    """Where a field's value still stands, though it has been sent."""
    for (table,) in sql(_TABLES):
        kept = "action_id in (select id from resolver.actions where state in ('requested', 'sent'))"
        where = f"not {kept}" if table == "action_fields" else "true"
        ((times,),) = sql(f"select count(*) from resolver.{table} t where t::text ilike %s and {where}", f"%{MARK}%")
        if times:
            yield f"leaked: values stand in {times} rows of {table}"


def make_table(title: str, ends: Counter[str], chaos: Chaos, violations: list[str]) -> Table:
    """For people."""
    table = Table("what", "count", title=title)
    for end, count in sorted(ends.items()):
        table.add_row(end, str(count))
    table.add_row("actions in all", str(sum(ends.values())), end_section=True)
    for stage, count in sorted(chaos.proxy.cuts.items()):
        table.add_row(f"connections cut: {stage}", str(count))
    for fault, count in sorted(chaos.stage.box.calls()["by_fault"].items()):
        table.add_row(f"LeadByte's faults: {fault}", str(count))
    table.add_row("senders that died", str(chaos.deaths))
    table.add_row("requests by askers", str(len(chaos.outcomes)), end_section=True)
    for kind in ("doubled", "LOST", "leaked"):
        table.add_row(kind, str(sum(kind in violation for violation in violations)))
    return table
