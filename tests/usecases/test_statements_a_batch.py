"""A batch takes a constant number of statements: one more for each lead would be unseen but in what a lead costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event

from tests.benchmarks.scale import steps

Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def count_statements(engine: Engine, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Counter[str]]:
    """The statements of each step for a batch of so many leads, which are recorded and due."""
    run: Counter[str] = Counter()
    now = [""]
    event.listen(engine, "before_cursor_execute", lambda *_: run.update([now[0]]))

    def count(leads: int) -> Counter[str]:
        monkeypatch.setattr(steps, "BATCH", leads)
        sql(
            "select track_lead('bench', %s || '-' || to_hex(n)) from generate_series(1, %s) n",
            f"batch-of-{leads}",
            leads,
        )
        sql("update resolver.watches set next_poll_at = clock_timestamp()")
        steps.forget_duties(engine)
        run.clear()
        for now[0], step in steps.list_steps(engine).items():
            step()
        return run.copy()

    return count


def test_a_batch_takes_as_many_statements_whatever_its_size(count_statements: Callable[[int], Counter[str]]) -> None:
    few, many = count_statements(5), count_statements(300)
    assert few == many
    assert set(few) == {"tick", "claim", "settle", "persist"}
    assert sum(few.values()) < 40
