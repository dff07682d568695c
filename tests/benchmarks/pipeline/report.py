"""What the runs amount to: medians, ratios to the best Celery variant and to the floor, as tables, charts and JSON."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.pipeline.rounds import Ceiling, Plan, Results
from tests.benchmarks.pipeline.runs import Measured, Scenario

OURS, FLOOR, CELERY = "lead-resolver", "floor", "celery"
_BAR_CHARACTERS = 40
_BUSY_SHARE = 0.7  # an upstream that is this busy may have been what was measured


@dataclass(frozen=True, slots=True)
class Medians:
    """One contestant in one scenario, over all rounds; None: there is nothing to compare with."""

    contestant: str
    latency_ms: float
    polls: int
    rounds: int
    leads: int
    leads_per_second: float
    cpu_ms_per_lead: float
    postgres_cpu_ms_per_lead: float
    megabytes: float
    upstream_share: float
    times_celerys_rate: float | None = None
    share_of_celerys_cpu: float | None = None
    times_the_floors_cpu: float | None = None


def summarise(results: Results) -> list[Medians]:
    """Medians and ratios, in the order of the runs."""
    scenarios = list(dict.fromkeys((run.latency_ms, run.polls) for run in results.runs))
    return [row for scenario in scenarios for row in _summarise_scenario(_pick(results.runs, *scenario))]


def _pick(runs: list[Measured], latency_ms: float, polls: int) -> list[Measured]:
    return [run for run in runs if (run.latency_ms, run.polls) == (latency_ms, polls)]


def _summarise_scenario(runs: list[Measured]) -> Iterator[Medians]:
    names = list(dict.fromkeys(run.contestant for run in runs))
    rows = {name: _take_medians([run for run in runs if run.contestant == name]) for name in names}
    celery = [row for name, row in rows.items() if name.startswith(CELERY)]
    # The best of each: the fastest variant and the one that uses least CPU may be two.
    rate = max((row.leads_per_second for row in celery), default=None)
    cpu = min((row.cpu_ms_per_lead for row in celery), default=None)
    floor = rows[FLOOR].cpu_ms_per_lead if FLOOR in rows else None
    for row in rows.values():
        yield Medians(
            **{
                **asdict(row),
                "times_celerys_rate": _divide(row.leads_per_second, rate),
                "share_of_celerys_cpu": _divide(row.cpu_ms_per_lead, cpu),
                "times_the_floors_cpu": _divide(row.cpu_ms_per_lead, floor),
            }
        )


def _take_medians(runs: list[Measured]) -> Medians:
    first = runs[0]
    return Medians(
        contestant=first.contestant,
        latency_ms=first.latency_ms,
        polls=first.polls,
        rounds=len(runs),
        leads=first.leads,
        leads_per_second=median(run.leads_per_second for run in runs),
        cpu_ms_per_lead=median(run.cpu_ms_per_lead for run in runs),
        postgres_cpu_ms_per_lead=median(1000 * run.postgres_cpu_seconds / run.leads for run in runs),
        megabytes=median(run.megabytes for run in runs),
        upstream_share=median(run.upstream_share for run in runs),
    )


def _divide(value: float, by: float | None) -> float | None:
    return value / by if by else None  # a handful of leads may use less CPU than the kernel counts


def write_json(results: Results, plan: Plan) -> str:
    """Everything, raw runs included."""
    document: dict[str, Any] = {
        "date": _say_date(),
        "command": _say_command(),
        "machine": asdict(results.machine),
        "processes": plan.processes,
        "concurrency": plan.concurrency,
        "ceilings": [asdict(ceiling) for ceiling in results.ceilings],
        "medians": [asdict(row) for row in summarise(results)],
        "runs": [asdict(run) for run in results.runs],
    }
    return json.dumps(document, indent=2)


def print_report(results: Results, console: Console) -> None:
    """Tables, bars, and the lines for the README."""
    machine = results.machine
    console.print(f"\n{_say_date()} · {machine.cpu}, {machine.cores} cores · {machine.kernel}", highlight=False)
    console.print(f"Python {machine.python}, Postgres {machine.postgres} · {_say_command()}", highlight=False)
    rows = summarise(results)
    for ceiling in results.ceilings:
        ours = [row for row in rows if (row.latency_ms, row.polls) == (ceiling.latency_ms, ceiling.polls)]
        console.print(_make_table(ours, ceiling))
        console.print(_draw_bars(ours), highlight=False)
        busy = [row.contestant for row in ours if row.upstream_share > _BUSY_SHARE]
        if busy:
            console.print(f"[bold red]The upstream may have held up {', '.join(busy)}.[/]")
    console.print(
        "\nFor the README:\n", _write_markdown(rows), _write_chart(rows), sep="\n", markup=False, soft_wrap=True
    )


def _say_date() -> str:
    return datetime.now(UTC).date().isoformat()


def _say_command() -> str:
    return shlex.join(["python", "-m", "tests.benchmarks.pipeline", *sys.argv[1:]])


def _make_table(rows: list[Medians], ceiling: Ceiling) -> Table:
    title = (
        f"Upstream: {Scenario(ceiling.latency_ms, ceiling.polls)}; it can answer {ceiling.answers_per_second:,.0f}/s"
    )
    runs = f"medians of {rows[0].rounds}; CPU is the workers', ms a lead" if rows else None
    table = Table(title=title, caption=runs, padding=(0, 0), title_justify="left", caption_justify="left")
    table.add_column("", no_wrap=True)
    for column in ("leads", "leads/s", "/celery", "CPU", "/celery", "/floor", "Postgres", "MB", "upstream"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.contestant,
            f"{row.leads}",
            f"{row.leads_per_second:,.0f}",
            _say_times(row.times_celerys_rate),
            f"{row.cpu_ms_per_lead:.3f}",
            _say_share(row.share_of_celerys_cpu),
            _say_times(row.times_the_floors_cpu),
            f"{row.postgres_cpu_ms_per_lead:.3f}",
            f"{row.megabytes:.0f}",
            f"{row.upstream_share:.0%}",
        )
    return table


def _say_times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def _say_share(ratio: float | None) -> str:
    return f"1/{1 / ratio:.1f}" if ratio else ""


def _draw_bars(rows: list[Medians]) -> str:
    most = max((row.leads_per_second for row in rows), default=1.0)
    bars = ((row, max(1, round(_BAR_CHARACTERS * row.leads_per_second / most))) for row in rows)
    return "\n".join(f"  {row.contestant:<15}{'█' * length} {row.leads_per_second:,.0f}/s" for row, length in bars)


def _write_markdown(rows: list[Medians]) -> str:
    lines = [
        "| upstream | contestant | leads/s | times Celery | CPU-ms a lead | of Celery's | MB |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {Scenario(row.latency_ms, row.polls)} | {row.contestant} | {row.leads_per_second:,.0f} |"
        f" {_say_times(row.times_celerys_rate)} | {row.cpu_ms_per_lead:.3f} | {_say_share(row.share_of_celerys_cpu)} |"
        f" {row.megabytes:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _write_chart(rows: list[Medians]) -> str:
    """Leads a second in the first scenario, without the floor, which is no way of working."""
    first = [row for row in rows if (row.latency_ms, row.polls) == (rows[0].latency_ms, rows[0].polls)] if rows else []
    shown = [row for row in first if row.contestant != FLOOR]
    names = ", ".join(f'"{row.contestant}"' for row in shown)
    values = ", ".join(f"{row.leads_per_second:.0f}" for row in shown)
    title = f"Leads a second, upstream {Scenario(first[0].latency_ms, first[0].polls)}" if first else ""
    return f'```mermaid\nxychart-beta\n  title "{title}"\n  x-axis [{names}]\n  bar [{values}]\n```'
