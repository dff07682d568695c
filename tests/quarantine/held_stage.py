"""Held leads at a sandbox LeadByte, tracked and polled by us, and the ledger acting on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine

from worker.accounts import Account
from worker.following import follow_up
from worker.poller import Poller
from worker.polling import poll_account
from worker.quarantine import Requested, request_actions
from worker.results import persist_replies
from worker.sandbox import SandboxClient
from worker.sending import Sender, send_next

Sql = Callable[..., list[tuple[Any, ...]]]
SETTLE = timedelta(seconds=60)
FOLLOW = timedelta(hours=1)
DUE = "clock_timestamp() - interval '1 s'"


@dataclass
class Stage:
    """What a test plays with; time is moved by dating rows back, never by waiting."""

    engine: Engine
    box: SandboxClient
    account: Account
    poller: Poller
    sender: Sender
    sql: Sql
    settle: timedelta = SETTLE

    def hold(self, *queue_ids: str) -> list[str]:
        """Track these leads and poll them until they are known to be held; their quarantine IDs."""
        for queue_id in queue_ids:
            self.sql("select track_lead('sandbox', %s)", queue_id)
        self.poll()
        return [self.held_id(queue_id) for queue_id in queue_ids]

    def held_id(self, queue_id: str) -> str:
        ((held,),) = self.sql("select quarantine_id from reporting.leads where queue_id = %s", queue_id)
        return str(held)

    def poll(self) -> None:
        """Ask about every watched lead now, and persist what is told."""
        self.sql(f"update resolver.watches set next_poll_at = {DUE} where next_poll_at is not null")
        while poll_account(self.poller, self.account) is not None:
            pass
        persist_replies(self.engine)

    def ask(self, action: str, *ids: str, by: str = "kim", **more: Any) -> list[Requested]:
        return request_actions(self.engine, "sandbox", action, ids, requested_by=by, **more)

    def send(self, *, key: str | None = None) -> Counter[str]:
        """Send whatever may be sent now."""
        account = self.account if key is None else replace(self.account, api_key=SecretStr(key))
        total: Counter[str] = Counter()
        while (states := send_next(self.sender, account)) is not None:
            total += states
        return total

    def look(self, *, times: int = 1) -> None:
        """Look after what was sent, whether it is due or not."""
        for _ in range(times):
            self.sql(
                f"update resolver.actions set next_try_at = {DUE}"
                " where next_try_at is not null and state in ('unsure', 'acknowledged', 'requested')"
            )
            follow_up(self.engine, settle=self.settle, follow=FOLLOW)

    def age(self, seconds: float) -> None:
        """As if what has happened had happened so much earlier."""
        for column in ("sent_at", "unsure_at", "acknowledged_at", "requested_at", "follow_until", "held_seen_at"):
            self.sql(f"update resolver.actions set {column} = {column} - %s * interval '1 s'", seconds)
        self.sql("update resolver.lead_events set at = at - %s * interval '1 s'", seconds)
        self.sql("update resolver.replies set received_at = received_at - %s * interval '1 s'", seconds)

    def rows(self) -> list[dict[str, Any]]:
        return [
            row for (row,) in self.sql("select to_jsonb(q) from reporting.quarantine q order by action_id, queue_id")
        ]

    def states(self) -> list[str]:
        return [row["action_state"] for row in self.rows()]

    def effects(self) -> list[tuple[str, str]]:
        """What took effect at LeadByte: (quarantine ID, action), once it had the time."""
        self.box.advance(1)
        self.box.truth()
        self.box.act_as_person(1, "process")  # no such lead; it has the sandbox carry out what is due
        return [
            (str(effect["quarantine_id"]), effect["action"]) for effect in self.box.actions() if effect["by"] == "api"
        ]
