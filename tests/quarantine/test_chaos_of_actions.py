"""Actions under everything at once: none takes effect twice, none is lost silently, people are asked only when needed.

`pytest -m soak tests/quarantine` runs thousands.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from rich.console import Console

from tests.quarantine.chaos_plan import MARK, STORIES, plan_leads
from tests.quarantine.chaos_run import PLACES, Chaos
from tests.quarantine.chaos_verdict import judge, make_table
from tests.quarantine.cutting_proxy import running_cutting_proxy
from tests.quarantine.held_stage import Stage
from worker import failpoints
from worker.leadbyte.acting import ActingClient
from worker.local.postgres import EmbeddedPostgres
from worker.sandbox.stories import PRESETS

MakeChaos = Callable[[int, int], Chaos]


@pytest.fixture
def make_chaos(
    make_stage: Callable[..., Stage], tasks: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeChaos]:
    """So many leads, drawn by a seed, behind a proxy; senders die at every failpoint."""
    with ExitStack() as opened:

        def make(leads: int, seed: int) -> Chaos:
            chance = random.Random(seed)
            stage = make_stage(weights={**dict.fromkeys(PRESETS["everyday"], 0), **STORIES}, action_seconds=0.1)
            # Over as soon as LeadByte, which answers at once here, hangs.
            stage.sender = replace(stage.sender, client=ActingClient(2.0))
            place = urlsplit(stage.box.root_url)
            proxy = opened.enter_context(running_cutting_proxy(place.hostname or "", place.port or 0, seed))
            plans = plan_leads(stage.box, leads, chance)
            chaos = Chaos(stage, proxy, plans, database_url, tasks.request_action.run, chance)
            for name in PLACES:
                monkeypatch.setitem(failpoints._ARMED, f"quarantine.{name}", (chaos.die_sometimes, None))
            return chaos

        yield make


def run(chaos: Chaos, *, rounds: int, seconds: float) -> None:
    """Ask, rage, and let it come to its end, as far as that goes without people."""
    chaos.track()
    chaos.script_unprocessed()
    # The same values asked for once more after an update is concluded are another update: so all ask before any is.
    chaos.ask(ask for plan in chaos.plans for ask in plan.asks[:1] if ask.kind == "update")
    others = [ask for plan in chaos.plans for ask in plan.asks if ask.kind != "update"]
    for number in range(rounds):
        share = others[number :: rounds - 1] if number < rounds - 1 else []
        again = chaos.list_held_anew()

        def meanwhile(number: int = number, asks: Any = (*share, *again)) -> None:
            if number == 1:
                chaos.act_as_people()
            chaos.ask(asks)

        chaos.rage(number, seconds, meanwhile=meanwhile)
    chaos.calm_down()
    chaos.ask(chaos.list_held_anew())
    chaos.calm_down()
    chaos.grow_overdue()


def judge_all(chaos: Chaos) -> tuple[Counter[str], list[str]]:
    return judge(chaos.stage.sql, chaos.stage.box, unprocessed=chaos.unprocessed, resent=chaos.resends)


def conclude(chaos: Chaos, postgres: EmbeddedPostgres, written: str) -> None:
    """People answer what was left to them, and then nothing is open any more, nor any value kept."""
    chaos.ask_people()
    chaos.calm_down()
    chaos.ask_people()
    ends, violations = judge_all(chaos)
    assert not violations, "\n".join(violations)
    assert {end.split(":")[0] for end in ends} <= {"confirmed", "refused"}, ends
    assert chaos.stage.sql("select count(*) from resolver.action_fields") == [(0,)]
    assert MARK not in postgres.log.read_text("utf-8", "replace")
    assert MARK not in written


def test_a_hundred_and_fifty_actions_under_chaos(
    make_chaos: MakeChaos, postgres: EmbeddedPostgres, capfd: pytest.CaptureFixture[str]
) -> None:
    chaos = make_chaos(125, 1)
    run(chaos, rounds=4, seconds=0.8)
    ends, violations = judge_all(chaos)
    assert not violations, "\n".join(violations)
    assert sum(ends.values()) >= 140
    assert chaos.deaths
    assert len(chaos.proxy.cuts) >= 4
    conclude(chaos, postgres, "".join(capfd.readouterr()))


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_thousands_of_actions_under_chaos(
    make_chaos: MakeChaos, postgres: EmbeddedPostgres, capfd: pytest.CaptureFixture[str]
) -> None:
    chaos = make_chaos(1800, 2)
    run(chaos, rounds=12, seconds=4.0)
    ends, violations = judge_all(chaos)
    with capfd.disabled():
        Console(width=110).print(make_table("Actions on held leads under chaos", ends, chaos, violations))
    assert not violations, "\n".join(violations)
    assert sum(ends.values()) >= 2000
    conclude(chaos, postgres, "".join(capfd.readouterr()))
