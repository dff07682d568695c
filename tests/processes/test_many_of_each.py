"""Two beats and four workers at once poll each lead once for each due time, as one of each would."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest

from tests.processes.invariants import check_invariants
from tests.processes.stage import ACCOUNT, Stage
from worker import operations
from worker.domain.backoff import JITTER, LADDER

pytestmark = pytest.mark.processes

WORKERS = ("one", "two", "three", "four")
# A rung counts as taken when less than half its gap is left, so this is the shortest the schedule can ask for.
SHORTEST_GAP = min(LADDER) / 2 * (1 - JITTER)

_NOTE_CLAIMS = """
    create table public.noted_claims (queue_id text, polls integer, due_at timestamptz, claimed_at timestamptz);
    create function public.note_claim() returns trigger language plpgsql as $$ begin
        insert into public.noted_claims values (old.queue_id, old.polls, old.next_poll_at, clock_timestamp());
        return null;
    end $$;
    create trigger note_claim after update on resolver.watches for each row
        when (old.claim_id is null and new.claim_id is not null) execute function public.note_claim();
"""


def test_two_beats_and_four_workers_poll_no_lead_twice_for_one_due_time(stage: Stage) -> None:
    stage.execute(_NOTE_CLAIMS)
    for name in WORKERS:
        stage.start_worker(name)
    for name in ("beat-one", "beat-two"):
        stage.start_beat(name)
    stage.wait_until_ready(*WORKERS)
    resolving = stage.submit(10)
    open_ended = stage.track([f"sandbox-queued-{number:04}" for number in range(16)])
    stage.wait_until(lambda: _count_polls(stage, open_ended) >= 3 * len(open_ended), "each was polled three times")
    stage.wait_until_resolved(resolving)
    operations.pause(stage.engine, ACCOUNT, "for counting")
    stage.wait_until(lambda: not stage.query("select from resolver.claims"), "every claim is settled")

    asked = stage.sandbox.calls()["polls"]
    assert {row["queue_id"]: row["polls"] for row in stage.query("select * from reporting.leads")} == asked
    claims = stage.query("select * from public.noted_claims order by claimed_at")
    # The pause finds some claimed and not yet sent: these are handed back. So is what a busy machine sent too late, to
    # be claimed anew for the same poll.
    claimed = Counter(queue_id for queue_id, _ in {(claim["queue_id"], claim["polls"]) for claim in claims})
    assert set(claimed) == set(asked)
    assert {claimed[queue_id] - asked[queue_id] for queue_id in asked} <= {0, 1}
    assert len({(claim["queue_id"], claim["due_at"]) for claim in claims}) == len(claims)
    assert all(claim["claimed_at"] >= claim["due_at"] for claim in claims)
    for queue_id in open_ended:
        of_lead = [claim for claim in claims if claim["queue_id"] == queue_id]
        gaps: list[timedelta] = [
            later["claimed_at"] - sooner["claimed_at"]
            for sooner, later in pairwise(of_lead)
            if later["polls"] > sooner["polls"]
        ]
        assert min(gaps) >= SHORTEST_GAP
    assert {asked[queue_id] for queue_id in resolving} == {1}
    check_invariants(stage)


def _count_polls(stage: Stage, queue_ids: list[str]) -> int:
    (row,) = stage.query("select sum(polls) as n from resolver.watches where queue_id = any(:ids)", ids=queue_ids)
    return int(row["n"])
