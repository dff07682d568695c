"""What a person sees of the demo: steps, live counts, and the report at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from worker.cli.ask import print_report
from worker.cli.output import STATE_STYLES, err, out, print_error, print_table, style_state
from worker.errors import DisagreementError
from worker.local.agreement import Agreement
from worker.local.demo import DemoReport, Progress

_LINE_EVERY_SECONDS = 5.0
_MOST_DIFFERENCES_SHOWN = 10


def tell_step(step: str) -> None:
    """One step of the start, on stderr: stdout is for the report."""
    err.print(f"[dim]· {step}[/]")


def show_progress(progress: Iterable[Progress], total: int) -> None:
    """Live counts on a terminal; elsewhere a line now and then."""
    if not err.is_terminal:
        _print_lines(progress)
        return
    with Live(console=err, refresh_per_second=8, transient=True) as live:
        for now in progress:
            live.update(_draw(now, total))


def print_demo_report(report: DemoReport) -> None:
    """The report, and whether LeadByte agrees."""
    states = "  ".join(f"{style_state(state)} {count}" for state, count in sorted(report.states.items()))
    out.print(f"\n[bold]{report.leads} leads in {report.elapsed_seconds:.0f} s[/]   {states}\n")
    print_report("campaign", report.campaigns, leave_out=frozenset({"median_seconds_to_resolve"}))
    print_table(
        report.refusals, ["campaign", "result_code", "result_reason", "refused"], title="\nWhy leads were refused"
    )
    print_table(report.buyers, ["buyer", "sold", "other", "revenue", "currency"], title="\nBuyers")
    print_table(report.deliveries, ["status", "reason", "deliveries"], title="\nDeliveries")
    out.print(f"\n{report.polls_per_lead:.1f} polls per lead")
    if report.seconds_to_record_median is not None and report.seconds_to_record_p95 is not None:
        out.print(
            f"from resolved at LeadByte to recorded here: median {report.seconds_to_record_median:.1f} s, "
            f"95th percentile {report.seconds_to_record_p95:.1f} s"
        )
    held = report.states.get("quarantined", 0)
    if held:
        out.print(f"{held} leads are held in quarantine: they wait for a person, here and at LeadByte")


def print_agreement(agreement: Agreement, *, quiet: bool = False) -> None:
    """The last line; DisagreementError if not all agree."""
    for queue_id, found in list(agreement.differences.items())[:_MOST_DIFFERENCES_SHOWN]:
        print_error(f"{queue_id}: {'; '.join(found)}")
    said = f"{agreement.agreeing} of {agreement.leads} leads agree with LeadByte"
    if agreement.differences:
        raise DisagreementError(said)
    if not quiet:
        out.print(f"\n[bold green]{said}[/]")


def _draw(now: Progress, total: int) -> Group:
    done = total - now.waiting if now.submitted == total else now.submitted - now.waiting
    head = Text.assemble(
        (f"{now.submitted}", "bold"), f" of {total} submitted   ", (f"{done}", "bold"), " settled   ",
        (f"{now.polls}", "bold"), " polls   ", (f"{now.elapsed_seconds:.0f} s", "dim"),
    )  # fmt: skip
    counts = Table.grid(padding=(0, 2))
    for state, style in STATE_STYLES.items():
        if count := now.states.get(state, 0):
            counts.add_row(
                Text(state, style=style), Text(f"{count}", justify="right"), ProgressBar(total, count, width=40)
            )
    return Group(head, counts)


def _print_lines(progress: Iterable[Progress]) -> None:
    next_at = 0.0
    for now in progress:
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + _LINE_EVERY_SECONDS
            counts = ", ".join(f"{count} {state}" for state, count in sorted(now.states.items()))
            err.print(f"{now.elapsed_seconds:4.0f} s  {now.polls} polls  {counts}", soft_wrap=True)
