"""The chaos run: four askers at once, senders that die, a proxy that cuts, LeadByte failing, people in between.

In rounds: while one lasts, everything goes on at once. Between two nobody sends, so that whatever is still *sent* has
lost its sender, and its lease may be dated back.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from threading import Barrier
from typing import Any

import psycopg

from tests.quarantine.chaos_plan import Ask, Plan, make_fields
from tests.quarantine.cutting_proxy import CuttingProxy
from tests.quarantine.held_stage import DUE, FOLLOW, Stage
from worker.following import follow_up
from worker.polling import poll_account
from worker.quarantine import request_actions, resolve
from worker.results import persist_replies
from worker.sending import send_next

SENDERS = 4
SETTLE = timedelta(seconds=0.6)  # several times what the sandbox takes to show an effect
_CALM_ROUNDS = 200  # at most, and far fewer as a rule
PLACES = ("after_claim", "after_request", "before_commit", "after_record")
_CUTS = {"pass": 45, "reset": 5, "swallow": 5, "within request": 10, "before answer": 8, "within answer": 8}
# How LeadByte treats the next calls, in a drawn order; "absent" leaves an action's answer as it is.
_FAULTS = {
    "absent": 65,
    "500": 9,
    "503": 5,
    "lostrequest": 8,
    "lostreply": 5,
    "error200": 2,
    "denied200": 2,
    "empty": 2,
}
_CALLS_A_SECOND = 30  # about


class Died(BaseException):
    """A sender is gone at a failpoint; whatever it held stays behind."""


@dataclass
class Chaos:
    """One run on one stage."""

    stage: Stage
    proxy: CuttingProxy
    plans: Sequence[Plan]
    database_url: str
    ask_by_message: Callable[..., str]  # the Celery task `quarantine.request`
    chance: random.Random
    deaths: int = 0
    outcomes: list[str] = field(default_factory=list)  # of each asker's request
    resends: list[int] = field(default_factory=list)  # actions that a person had sent again
    is_wild: bool = False

    def die_sometimes(self) -> None:
        if self.is_wild and self.chance.random() < 0.02:
            self.deaths += 1
            raise Died

    def track(self) -> None:
        """Make the leads known that are to be, as held."""
        for plan in self.plans:
            if plan.is_known:
                self.stage.sql("select track_lead('sandbox', %s)", plan.queue_id)
        self.stage.poll()

    def ask(self, asks: Iterable[Ask]) -> None:
        """Each by four at the same moment: SQL, Python by either ID, Celery (SQL again where values forbid it)."""
        wanted, gate = list(asks), Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            for outcomes in pool.map(lambda number: self._ask_all(number, wanted, gate), range(4)):
                self.outcomes += outcomes

    def _ask_all(self, asker: int, asks: Sequence[Ask], gate: Barrier) -> list[str]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return [self._ask(asker, ask, gate, connection) for ask in asks]

    def _ask(self, asker: int, ask: Ask, gate: Barrier, connection: psycopg.Connection[Any]) -> str:
        given = ask.held if asker % 2 or ask.queue_id is None else ask.queue_id
        gate.wait()
        if asker in {1, 2}:
            (one,) = request_actions(
                self.stage.engine, "sandbox", ask.kind, [given], requested_by=f"asker {asker}", fields=ask.fields
            )
            return one.outcome
        if asker == 3 and ask.fields is None:
            return self.ask_by_message(ask.kind, given, account="sandbox")
        fields = None if ask.fields is None else json.dumps(ask.fields)
        try:
            row = connection.execute(
                "select request_quarantine_action('sandbox', %s, %s, %s::jsonb)", (given, ask.kind, fields)
            ).fetchone()
        except psycopg.errors.InvalidParameterValue:
            return "refused"
        return "requested" if row == ("requested",) else "already requested"

    def rage(self, number: int, seconds: float, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """A round in which everything may go wrong."""
        self._script_faults(number, seconds)
        self.proxy.weights = {**_CUTS, "bad gateway": 4}  # type: ignore[dict-item]
        self.is_wild = True
        self._go_on(seconds, meanwhile)
        self.is_wild = False
        self.proxy.weights = {"pass": 1}
        self.script_unprocessed()
        self._bury_dead()

    def calm_down(self) -> None:
        """Let everything come to its end, LeadByte being well again."""
        for _ in range(_CALM_ROUNDS):
            self._bury_dead()
            self._go_on(0.7, lambda: None)
            if not self.stage.sql(_UNFINISHED):
                return

    def _go_on(self, seconds: float, meanwhile: Callable[[], None]) -> None:
        """For so long, and until all has been asked for: a slow machine is to see as much as a quick one."""
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(SENDERS + 2) as pool:
            asking = pool.submit(meanwhile)

            def is_over() -> bool:
                return time.monotonic() >= until and asking.done()

            work = [pool.submit(self._send_until, is_over, number) for number in range(SENDERS)]
            work += [pool.submit(self._look_until, is_over), asking]
        for one in work:
            one.result()

    def _send_until(self, is_over: Callable[[], bool], number: int) -> None:
        through = replace(
            self.stage.account, concurrency=64, base_url=f"http://127.0.0.1:{self.proxy.port}/restapi/v1.3"
        )
        nowhere = replace(through, base_url="http://127.0.0.1:1/restapi/v1.3")
        chance = random.Random(number)
        while not is_over():
            try:
                account = nowhere if self.is_wild and chance.random() < 0.03 else through
                if send_next(self.stage.sender, account) is None:
                    time.sleep(0.02)
            except Died:
                continue

    def _look_until(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self.stage.sql(
                f"update resolver.watches set next_poll_at = {DUE}"
                " where hurry_since is not null and claim_id is null and next_poll_at is not null"
            )
            account = replace(self.stage.account, concurrency=64)
            while poll_account(self.stage.poller, account) is not None:
                pass
            persist_replies(self.stage.engine)
            follow_up(self.stage.engine, settle=SETTLE, follow=FOLLOW)
            self._shorten_waits()
            time.sleep(0.2)

    def _bury_dead(self) -> None:
        """Nobody sends now: leases, waits and pauses end at once."""
        self.stage.sql("update resolver.claims set lease_until = clock_timestamp()")
        self.stage.sql(f"update resolver.actions set next_try_at = {DUE} where next_try_at is not null")
        self._shorten_waits()
        follow_up(self.stage.engine, settle=SETTLE, follow=FOLLOW)

    def _shorten_waits(self) -> None:
        """A pause may be probed at once; whether it is respected is for others to test."""
        self.stage.sql(f"update resolver.accounts set paused_until = {DUE} where paused_until is not null")
        self.stage.sql(f"update resolver.action_parks set probe_at = {DUE}")

    def _script_faults(self, number: int, seconds: float) -> None:
        drawn = self.chance.choices(list(_FAULTS), list(_FAULTS.values()), k=round(seconds * _CALLS_A_SECOND))
        if number % 3 == 1:
            drawn[:3] = ["429-wait1", "403", "403"]
        for fault in drawn:
            self.stage.box.script("@process", fault, 1)
        for fault in drawn[:1] + drawn[3::10]:
            self.stage.box.script("@update", fault, 1)

    @property
    def unprocessed(self) -> list[str]:
        """The leads of which LeadByte promises and forgets."""
        return [plan.held for plan in self.plans if plan.oddity == "unprocessed"]

    def script_unprocessed(self) -> None:
        """Alone what is promised and never done goes on being so."""
        self.stage.box.clear_script()
        for held in self.unprocessed:
            self.stage.box.script(held, "unprocessed")

    def act_as_people(self) -> None:
        """People in LeadByte, who know nothing of us."""
        for number, plan in enumerate(plan for plan in self.plans if plan.oddity == "person"):
            self.stage.box.act_as_person(int(plan.held), "reject" if number % 2 else "process")
            time.sleep(0.005)

    def list_held_anew(self) -> list[Ask]:
        """What came back from its first release: to be released again."""
        rows = self.stage.sql(
            "select quarantine_id, queue_id from reporting.quarantine where action_id is null and cycle > 1"
        )
        return [Ask("release", held, queue_id, None) for held, queue_id in rows]

    def grow_overdue(self) -> None:
        """As if LeadByte had had all the time in the world."""
        self.stage.sql(f"update resolver.actions set follow_until = {DUE} where state = 'acknowledged'")
        self._bury_dead()

    def ask_people(self) -> None:
        """Somebody looks in LeadByte, and says of each action that waits for a person whether it happened."""
        self.stage.box.clear_script()
        done = {(str(effect["quarantine_id"]), effect["action"]) for effect in self.stage.box.actions()}
        for action, kind, held, has_fields in self.stage.sql(_WAITS_FOR_PEOPLE):
            happened = (held, {"release": "process"}.get(kind, kind)) in done
            fields = None if happened or not has_fields else make_fields(held)
            resolved = resolve(self.stage.engine, action, happened=happened, by="kim", fields=fields)
            if resolved.state == "requested":
                self.resends.append(action)


# The lead's way, with values or without, decides whether a request waits behind one that waits for a person.
_UNFINISHED = """
    select id from resolver.actions a where state = 'sent' or state = 'unsure' and next_try_at is not null
        or state = 'acknowledged' and lead_id is not null and acknowledged_at > clock_timestamp() - interval '2 s'
        or state = 'requested' and not exists (
            select from resolver.actions b where b.quarantine_id = a.quarantine_id and b.id < a.id
                and b.state = 'unsure' and b.next_try_at is null)
"""
_WAITS_FOR_PEOPLE = """
    select id, kind, quarantine_id, field_names <> '{}' from resolver.actions
    where state in ('unsure', 'acknowledged') order by id
"""
