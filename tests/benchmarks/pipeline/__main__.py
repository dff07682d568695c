"""`python -m tests.benchmarks.pipeline`: the worker beside its peers and its floor, on servers of its own.

Needs the extras `bench`, `fast` and `local` (`pip install -e '.[dev,bench]'`). Everything listens on loopback alone and
ends with the command.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmarks.pipeline.floor import Floor
from tests.benchmarks.pipeline.ours import Ours
from tests.benchmarks.pipeline.peers.celery_contestants import CeleryPrefork, CeleryThreads
from tests.benchmarks.pipeline.peers.peer import Peer
from tests.benchmarks.pipeline.report import print_report, write_json
from tests.benchmarks.pipeline.rounds import Plan, Results, list_scenarios, run_all
from tests.benchmarks.pipeline.runs import Contestant, RunFailed
from worker.errors import LeadResolverError

try:
    from tests.benchmarks.pipeline.peers.async_contestants import PgQueuer, Procrastinate
except ImportError:
    sys.stderr.write("benchmark: without pgqueuer and procrastinate; they come with the extra `bench`\n")
    _ASYNC: tuple[type[Contestant], ...] = ()
else:
    _ASYNC = (PgQueuer, Procrastinate)

_ALL: tuple[type[Contestant], ...] = (Floor, Ours, CeleryPrefork, CeleryThreads, *_ASYNC)
CONTESTANTS = {kind.name.replace(" ", "-"): kind for kind in _ALL}
_LEFT_OUT = "procrastinate"  # unless asked for: PgQueuer, of the same kind, is faster; the run is to end in 20 minutes
_DEFAULT_LEADS, _QUICK_LEADS = 30_000, 3_000
_DEFAULT_ROUNDS, _QUICK_ROUNDS = 5, 1


def _read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pipeline", description=__doc__)
    parser.add_argument(
        "--leads",
        type=int,
        help=f"a run of ours, of which peers get {100 * Peer.leads_share:.0f} in a hundred (default {_DEFAULT_LEADS})",
    )
    parser.add_argument("--rounds", type=int, help=f"of which medians are taken (default {_DEFAULT_ROUNDS})")
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0.0, 50.0], help="of the upstream")
    parser.add_argument("--polls", type=int, nargs="+", default=[1, 3], help="until the verdict is told")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="of each contestant's worker")
    parser.add_argument("--concurrency", type=int, default=512, help="requests at once, ours and the floor's")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, help=f"these; default: all but {_LEFT_OUT}")
    parser.add_argument("--quick", action="store_true", help="one round with fewer leads: a look, no measurement")
    parser.add_argument("--json", action="store_true", help="all figures, raw runs included")
    return parser.parse_args(arguments)


def _make_plan(options: argparse.Namespace) -> Plan:
    leads, rounds = (_QUICK_LEADS, _QUICK_ROUNDS) if options.quick else (_DEFAULT_LEADS, _DEFAULT_ROUNDS)
    return Plan(
        leads=options.leads or leads,
        rounds=options.rounds or rounds,
        scenarios=list_scenarios(options.latency_ms, options.polls),
        contestants=tuple(
            CONTESTANTS[name]() for name in options.only or [name for name in CONTESTANTS if name != _LEFT_OUT]
        ),
        processes=options.processes,
        concurrency=options.concurrency,
    )


def _run_with_progress(plan: Plan, console: Console) -> Results:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting servers", total=plan.runs + len(plan.scenarios))

        def show(what: str) -> None:
            progress.update(task, description=what)
            progress.advance(task)

        return run_all(plan, show)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    options = _read_arguments(arguments)
    plan = _make_plan(options)
    try:
        results = _run_with_progress(plan, Console(stderr=True))
    except (RunFailed, LeadResolverError) as error:
        sys.stderr.write(f"benchmark: {error}\n")
        return 1
    if options.json:
        sys.stdout.write(write_json(results, plan) + "\n")
    else:
        print_report(results, Console())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
