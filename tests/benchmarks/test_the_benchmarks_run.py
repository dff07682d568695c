"""The benchmarks do their work and say what they measured; how fast anything was is nobody's business here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.processes
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 500


def run_benchmark(*arguments: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-m", *arguments, "--json"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_the_pipeline_benchmark_measures_us_beside_celery_and_the_floor() -> None:
    contestants = ("floor", "lead-resolver", "celery-threads")
    told = run_benchmark(
        "tests.benchmarks.pipeline", "--quick", "--leads=50", "--latency-ms=0", "--polls=1", "--only", *contestants
    )
    assert [row["contestant"] for row in told["medians"]] == ["floor", "lead-resolver", "celery threads"]
    assert [run["leads"] for run in told["runs"]] == [50, 50, 2]
    assert told["machine"]["cores"]
    assert told["ceilings"][0]["answers_per_second"] > 0


def test_the_scale_benchmark_measures_each_step() -> None:
    told = run_benchmark("tests.benchmarks.scale", "--sizes=1000")
    assert [cost["step"] for cost in told["costs"]] == ["tick", "claim", "settle", "persist"]
    assert [size["leads"] for size in told["held"]] == [1000]
    assert told["held"][0]["due_index_megabytes"] > 0
    assert told["held"][0]["worker_megabytes"] > 0


def test_the_benchmark_of_many_accounts_tells_of_the_small_ones_and_the_fast_one() -> None:
    found = run_benchmark("tests.benchmarks.many_accounts", "--accounts=3", "--rate=2", "--seconds=1")
    assert found["accounts"] == 4
    assert found["small_used"] > 0
    assert found["fast_used"] > 0


def test_the_manners_benchmark_tells_of_both_accounts() -> None:
    told = run_benchmark(
        "tests.benchmarks.manners", "--rates=20", "--latency-ms=20", "--workers=2", "--seconds=1", "--concurrency=4"
    )
    assert [row["account"] for row in told] == ["many", "few"]
    assert all(row["most_at_once"] <= row["concurrency"] for row in told)
    assert all(row["used"] > 0 for row in told)
