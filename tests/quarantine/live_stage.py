"""Held leads and real worker processes: asked for in SQL, sent by whoever lives, judged by the sandbox's log."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.processes.stage import ACCOUNT, PATIENCE_SECONDS, Stage, group_is_alive, list_children
from tests.quarantine.chaos_verdict import judge
from tests.quarantine.held_stage import Sql

# Due now: whatever waits for its time, but no lease.
_HASTEN = (
    "update resolver.watches set next_poll_at = clock_timestamp() where claim_id is null and hurry_since is not null",
    "update resolver.actions set next_try_at = clock_timestamp() where state <> 'sent' and next_try_at is not null",
)
_OPEN = """
    select count(*) as n from resolver.actions
    where state in ('requested', 'sent', 'acknowledged') or state = 'unsure' and next_try_at is not null
"""


@dataclass
class LiveStage:
    """A stage of processes with held leads on it."""

    stage: Stage
    sql: Sql
    started: list[tuple[str, int]] = field(default_factory=list)  # every worker ever, by name and pid

    def start(self, name: str, *, children: int = 1, failpoints: str = "") -> int:
        """A worker that consumes."""
        pid = self.stage.start_worker(name, children=children, failpoints=failpoints)
        self.started.append((name, pid))
        self.stage.wait_until_ready(name)
        return pid

    def hold(self, count: int) -> dict[str, str]:
        """So many leads that are known to be held, by queue ID; whoever lives polls them."""
        queue_ids = self.stage.track([f"sandbox-quarantined-{number:04}" for number in range(count)])
        read = "select queue_id, quarantine_id from reporting.leads where quarantine_id is not null"
        self.stage.wait_until(lambda: len(self.stage.query(read)) == count, "all are known to be held")
        held = {row["queue_id"]: row["quarantine_id"] for row in self.stage.query(read)}
        assert set(held) == set(queue_ids)
        return {queue_id: held[queue_id] for queue_id in queue_ids}

    def ask(self, action: str, ids: Sequence[str], fields: str | None = None) -> None:
        """In SQL, as a capture site may."""
        for given in ids:
            self.sql("select request_quarantine_action(%s, %s, %s, %s::jsonb)", ACCOUNT, given, action, fields)

    def kill(self, pid: int) -> None:
        """A worker and, by the kernel, its children."""
        os.kill(pid, signal.SIGKILL)
        self.stage.wait_until(lambda: not group_is_alive(pid), "nothing of the worker is left")

    def kill_a_child(self, pid: int, number: int) -> None:
        """One of the worker's children, if it has any just now; Celery starts another."""
        if children := list_children(pid):
            os.kill(children[number % len(children)], signal.SIGKILL)

    def bury_dead(self) -> None:
        """Nobody sends: whatever is *sent* has lost its sender."""
        self.stage.expire_leases()
        self.sql("update resolver.actions set next_try_at = clock_timestamp() where state = 'sent'")

    def wait_until_concluded(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Until nothing is under way any more, but for what waits for a person."""

        def look() -> bool:
            for statement in _HASTEN:
                self.sql(statement)
            return self.sql(_OPEN) == [(0,)]

        self.stage.wait_until(look, "every action has come to its end", seconds)

    def count_deaths(self, name: str) -> dict[str, int]:
        """How often each place was reached by this worker."""
        reached = re.findall(r"failpoint reached: quarantine\.(\w+)", self.stage.read_log(name))
        return {place: reached.count(place) for place in reached}

    def find_violations(self) -> list[str]:
        """Doubled, lost or leaked."""
        return judge(self.sql, self.stage.sandbox)[1]
