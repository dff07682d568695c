"""The upstream as a child process: started for one scenario, watched for its CPU, asked how fast it could go."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.pipeline.fetching import fetch_all
from tests.benchmarks.pipeline.replies import name_leads
from tests.benchmarks.pipeline.runs import Scenario
from worker.local.processes import ChildSpec, Launcher
from worker.local.stack import child_environment

_MODULE = "tests.benchmarks.pipeline.upstream"
_CEILING_RUN = 0xFFFFFFFF  # a run of its own: its queue IDs are nobody else's
_SAMPLE_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running upstream."""

    pid: int
    base_url: str


@contextmanager
def running_upstream(folder: Path, scenario: Scenario) -> Iterator[Upstream]:
    """An upstream that answers as the scenario says."""
    log = folder / "upstream.log"
    log.unlink(missing_ok=True)
    options = ("--latency-ms", str(scenario.latency_ms), "--polls", str(scenario.polls))
    spec = ChildSpec(
        "upstream", (sys.executable, "-m", _MODULE, *options), child_environment(), lambda: bool(_read_port(log))
    )
    with Launcher(folder, on_event=lambda _: None, grace_seconds=1) as launcher:
        launcher.start(spec)
        base_url = f"http://127.0.0.1:{_read_port(log)}/restapi/v1.3"
        yield Upstream(launcher.children["upstream"], base_url)


def _read_port(log: Path) -> int:
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("port ")), 0)


def measure_ceiling(upstream: Upstream, concurrency: int, requests: int) -> float:
    """Answers a second that libcurl alone gets out of it, at that concurrency."""
    queue_ids: Sequence[str] = name_leads(_CEILING_RUN, requests)
    return requests / fetch_all(upstream.base_url, queue_ids, concurrency).seconds
