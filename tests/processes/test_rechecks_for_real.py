"""Re-checks through real processes: beat starts them, a worker asks, and a return reaches reporting."""

from __future__ import annotations

import pytest

from tests.processes.invariants import check_invariants
from tests.processes.stage import Stage

pytestmark = pytest.mark.processes

RETURNED = "sandbox-returned-0001"  # approved when it is first asked about, and returned a moment later


def test_a_return_reaches_reporting_where_rechecks_are_on(stage: Stage) -> None:
    stage.settings |= {"LEAD_RESOLVER_RECHECK_DAYS": "1", "LEAD_RESOLVER_RECHECK_EVERY_HOURS": "0.0001"}
    stage.start_worker()
    stage.start_beat()
    stage.wait_until_ready("worker")
    stage.track([RETURNED])
    stage.wait_until_resolved([RETURNED])
    # The next turn would come within ten seconds.
    stage.execute("delete from resolver.ticks where duty like 'recheck %'")
    stage.wait_until(
        lambda: bool(stage.query("select from reporting.leads where state = 'returned'")), "it is returned"
    )
    (event,) = stage.query("select * from reporting.events where to_state = 'returned'")
    assert event["from_state"] == "approved"
    check_invariants(stage)
