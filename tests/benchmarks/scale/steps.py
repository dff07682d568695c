"""The product's steps on one batch, as this benchmark calls them: the only file here that knows the product's store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import Engine, text

from tests.benchmarks.pipeline.replies import PLACE, list_stories, write_body
from worker.domain.decide import Step
from worker.results import persist_replies
from worker.scheduling import plan_hints
from worker.store.budget import Budget
from worker.store.claims import Claim, claim_due_leads
from worker.store.db import read_clock, transaction
from worker.store.settling import JournalEntry, Release, journal_replies, release_permits, settle_polls

ACCOUNT = "bench"
BATCH = 100  # so few that a thousand leads make several
_BUDGET = Budget(requests_per_second=10_000, concurrency=1_000)
_BODIES = [write_body(record) for record in list_stories()]
# A step of one batch; each begins where the one before it left off.
Steps = dict[str, Callable[[], None]]


def list_steps(engine: Engine) -> Steps:
    """Tick, claim, settle (with the replies journalled) and persist: to be called in this order, again and again."""
    claims: list[Claim] = []
    return {
        "tick": lambda: _tick(engine),
        "claim": lambda: claims.append(_claim(engine)),
        "settle": lambda: _settle(engine, claims.pop()),
        "persist": lambda: _persist(engine),
    }


def forget_duties(engine: Engine) -> None:
    """Let the next tick look, however soon it comes after the last one."""
    with transaction(engine) as connection:
        connection.execute(text("delete from resolver.ticks"))


def _tick(engine: Engine) -> None:
    assert plan_hints(engine, [ACCOUNT], BATCH).due


def _claim(engine: Engine) -> Claim:
    with transaction(engine) as connection:
        claim = claim_due_leads(connection, ACCOUNT, _BUDGET, read_clock(connection), BATCH)
    assert isinstance(claim, Claim)
    assert len(claim.leads) == BATCH
    return claim


def _settle(engine: Engine, claim: Claim) -> None:
    with transaction(engine) as connection:
        now = read_clock(connection)
        steps = [(lead.lead_id, Step(now + timedelta(days=1), answered=True)) for lead in claim.leads]
        assert len(settle_polls(connection, claim, steps, now)) == BATCH
        entries = [JournalEntry(lead.lead_id, now, 200, _write_reply(lead.queue_id), None) for lead in claim.leads]
        journal_replies(connection, claim, entries)
        release_permits(connection, claim, Release(), now)


def _persist(engine: Engine) -> None:
    assert persist_replies(engine).final == BATCH


def _write_reply(queue_id: str) -> str:
    return _BODIES[int(queue_id[-1], 16)].replace(PLACE, queue_id)
