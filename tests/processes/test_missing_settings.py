"""A production process without a setting it needs: one clear line that names it, exit code 2, nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.processes.stage import PATIENCE_SECONDS

pytestmark = pytest.mark.processes

COMPLETE = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "LEADBYTE_ACCOUNT": "acme",
    "LEADBYTE_API_KEY": "a-key",
}


@pytest.mark.parametrize(
    ("process", "missing"),
    [
        ("worker", "DATABASE_URL"),
        ("worker", "REDIS_URL"),
        ("worker", "LEADBYTE_ACCOUNT"),
        ("worker", "LEADBYTE_API_KEY"),
        ("beat", "DATABASE_URL"),
        ("beat", "REDIS_URL"),
        ("flower", "REDIS_URL"),
    ],
)
def test_a_process_without_a_setting_says_which_and_exits_with_2(process: str, missing: str) -> None:
    settings = {name: value for name, value in COMPLETE.items() if name != missing}
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker.celery_app", process],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"lead-resolver: {missing} is not set")
    assert done.stderr.count("\n") == 1
