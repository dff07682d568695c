"""What a person sees of the demo: steps, live counts, and the report at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from worker.cli.ask import print_report
from worker.cli.output import STATE_STYLES, err, out, print_error, print_table, style_state
from worker.errors import DisagreementError
from worker.local.agreement import Agreement
from worker.local.demo import Progress
from worker.local.demo_report import DemoReport

_LINE_EVERY_SECONDS = 5.0
_MOST_DIFFERENCES_SHOWN = 10
_TOO_WIDE = frozenset({"median_seconds_to_resolve", "returned"})  # for 80 columns; both stand elsewhere
_WAY_OF_AN_ACTION = ("requested", "sent", "acknowledged", "confirmed")
_OFF_THE_WAY = {"refused": "red", "unsure": "yellow"}


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
    print_report("campaign", report.campaigns, leave_out=_TOO_WIDE)
    print_table(
        report.refusals, ["campaign", "result_code", "result_reason", "refused"], title="\nWhy leads were refused"
    )
    print_table(report.buyers, ["buyer", "sold", "other", "revenue", "currency"], title="\nBuyers")
    print_table(report.deliveries, ["status", "reason", "deliveries"], title="\nDeliveries")
    if report.actions:
        print_table(report.actions, ["action", "state", "count"], title="\nActions on held leads")
    _print_remarks(report)


def _print_remarks(report: DemoReport) -> None:
    out.print(
        f"\n{report.polls_per_lead_until_verdict:.1f} polls per lead until its verdict, "
        f"{report.polls_per_lead:.1f} with later looks for returns"
    )
    if report.seconds_to_record_median is not None and report.seconds_to_record_p95 is not None:
        out.print(
            f"from resolved at LeadByte to recorded here: median {report.seconds_to_record_median:.1f} s, "
            f"95 % within {report.seconds_to_record_p95:.1f} s"
        )
    if again := report.released_again:
        out.print(f"{_count_leads(again)} held a second time, and released again")
    if held := report.states.get("quarantined", 0):
        out.print(f"{_count_leads(held)} left in quarantine, here and at LeadByte")


def _count_leads(count: int) -> str:
    return "1 lead was" if count == 1 else f"{count} leads were"


def print_agreement(agreement: Agreement, *, quiet: bool = False) -> None:
    """The last line; DisagreementError if not all agree."""
    for queue_id, found in list(agreement.differences.items())[:_MOST_DIFFERENCES_SHOWN]:
        print_error(f"{queue_id}: {'; '.join(found)}")
    for wrong in agreement.wrong_effects[:_MOST_DIFFERENCES_SHOWN]:
        print_error(wrong)
    said = f"{agreement.agreeing} of {agreement.leads} leads agree with LeadByte"
    if agreement.wrong_effects:
        said += f"; differences about actions: {len(agreement.wrong_effects)}"
    elif agreement.effects:
        said += f", and {_count_effects(agreement.effects)} of our actions"
    if not agreement.is_complete:
        raise DisagreementError(said)
    if not quiet:
        out.print(f"\n[bold green]{said}[/]")


def _count_effects(count: int) -> str:
    return "the one effect" if count == 1 else f"all {count} effects"


def _draw(now: Progress, total: int) -> Group:
    head = Text.assemble(
        (f"{now.submitted}", "bold"), f" of {total} submitted   ", (f"{now.final}", "bold"), " final   ",
        (f"{now.polls}", "bold"), " polls   ", (f"{now.elapsed_seconds:.0f} s", "dim"),
    )  # fmt: skip
    counts = Table.grid(padding=(0, 2))
    for state, style in STATE_STYLES.items():
        if count := now.states.get(state, 0):
            counts.add_row(
                Text(state, style=style), Text(f"{count}", justify="right"), ProgressBar(total, count, width=40)
            )
    parts: list[RenderableType] = [head, counts]
    if now.actions:
        parts += [Text(), _draw_actions(now.actions)]
    if now.submitted == total:
        parts += [Text(), Text(f"waiting for {now.waits_for}", style="dim")]
    return Group(*parts)


def _draw_actions(actions: Mapping[str, int]) -> Text:
    """How far the actions have come: every step in its place, so that the eye finds it there again."""
    line = Text("actions  ")
    for step in _WAY_OF_AN_ACTION:
        count = actions.get(step, 0)
        line.append("" if step == _WAY_OF_AN_ACTION[0] else " → ", style="dim")
        line.append(f"{count:3} ", style="bold" if count else "dim")
        line.append(step, style="" if count else "dim")
    for state, style in _OFF_THE_WAY.items():
        if count := actions.get(state, 0):
            line.append(f"   {count} {state}", style=style)
    return line


def _print_lines(progress: Iterable[Progress]) -> None:
    next_at = 0.0
    for now in progress:
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + _LINE_EVERY_SECONDS
            err.print(f"{now.elapsed_seconds:4.0f} s  {now.polls} polls  {_list_counts(now.states)}", soft_wrap=True)
            if now.actions:
                err.print(f"        actions: {_list_counts(now.actions)}", soft_wrap=True)


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
