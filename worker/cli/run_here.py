"""`lead-resolver demo`, `up`, `sandbox`: running things on this machine."""

from __future__ import annotations

import time
from itertools import chain
from typing import Annotated

import typer
from rich.markup import escape

from worker.cli import demo_page
from worker.cli.common import AsJson
from worker.cli.output import err, out, print_json, print_table
from worker.errors import UsageError
from worker.local.demo import running_demo
from worker.local.processes import LauncherEvent
from worker.local.signals import stop_on_signals
from worker.local.stack import FlowerPage
from worker.local.up import run_until_stopped, running_product
from worker.sandbox import SandboxSettings, describe_names, serve_sandbox
from worker.sandbox.settings import PERMISSIONS
from worker.settings import load_settings

app = typer.Typer()


@app.command()
def demo(
    leads: Annotated[int, typer.Option(min=1, max=20_000, help="How many leads to submit.")] = 200,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running at the end; Ctrl-C ends it.")] = False,
    seed: Annotated[int, typer.Option(help="Chooses the leads' stories.")] = 1,
    as_json: AsJson = False,
) -> None:
    """The whole thing on this machine, in a minute: embedded servers, sandbox LeadByte, worker, beat, Flower."""
    with stop_on_signals(), running_demo(demo_page.tell_step, seed) as running:
        if keep:
            _say_where_flower_is(running.page)
        demo_page.show_progress(chain(running.submit(leads), running.watch()), leads)
        report = running.report()
        if as_json:
            print_json(report)
        else:
            demo_page.print_demo_report(report)
        demo_page.print_agreement(report.agreement, quiet=as_json)
        if keep:
            _say_where_flower_is(running.page)
            err.print(f"[dim]DATABASE_URL={escape(running.environment['DATABASE_URL'])}[/]", soft_wrap=True)
            err.print(f"other shells    . {escape(str(running.folder / 'environment'))}", soft_wrap=True)
            err.print("it keeps running; Ctrl-C ends it")
            while True:
                running.check()
                time.sleep(0.5)


@app.command()
def up(
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, help="Worker processes; else as WORKER_PROCESSES says.")
    ] = None,
) -> None:
    """Run worker, beat and Flower for real work; embedded servers where DATABASE_URL or REDIS_URL is unset."""
    with stop_on_signals(), running_product(load_settings(), processes, _tell_event) as running:
        out.print(f"data and logs   {running.folder}")
        out.print(f"Postgres        {escape(running.database)}")
        out.print(f"Redis           {escape(running.redis)}")
        _say_where_flower_is(running.page)
        out.print(f"other shells    . {escape(str(running.folder / 'environment'))}", soft_wrap=True)
        out.print("running; Ctrl-C ends it")
        run_until_stopped(running)


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8800,
    seed: Annotated[int, typer.Option(help="Chooses the leads' stories.")] = 1,
    median_seconds: Annotated[float, typer.Option(min=0.001, help="Median of each step of a lead's story.")] = 2.0,
    return_seconds: Annotated[
        float | None, typer.Option(min=0.001, help="Median from approval to return; three steps if not given.")
    ] = None,
    account: Annotated[str, typer.Option(help="The account's name.")] = "sandbox",
    key: Annotated[str, typer.Option(help="The API key it takes.", envvar="SANDBOX_KEY")] = "sandbox-key",
    preset: Annotated[str, typer.Option(help="Mix of stories: everyday, demo or plain.")] = "everyday",
    without: Annotated[list[str] | None, typer.Option(help="Leave this story out; may be repeated.")] = None,
    missing_permission: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(sorted(PERMISSIONS))}.")
    ] = None,
    latency_seconds: Annotated[float, typer.Option(min=0, help="Added to every answer.")] = 0.0,
    stories: Annotated[
        bool, typer.Option("--stories", help="List the queue IDs that force a story or a fault.")
    ] = False,
) -> None:
    """A LeadByte to practise on, alone, over HTTP on this machine."""
    if stories:
        print_table([{"name": name, "does": does} for name, does in describe_names()], ["name", "does"])
        return
    try:
        settings = SandboxSettings(
            port=port,
            seed=seed,
            median_seconds=median_seconds,
            return_seconds=return_seconds,
            account=account,
            key=key,
            preset=preset,
            weights=dict.fromkeys(without or (), 0),
            missing_permissions=frozenset(missing_permission or ()),
            latency_seconds=latency_seconds,
        )
    except ValueError as error:
        raise UsageError(f"sandbox: {error}") from None
    try:
        serve_sandbox(settings)
    except OSError as error:
        raise UsageError(
            f"sandbox: cannot listen on port {port}: {error.strerror}; choose another with --port"
        ) from None


def _say_where_flower_is(page: FlowerPage) -> None:
    out.print(f"Flower          {page.url}   user {page.user}, password {page.password}", soft_wrap=True)


def _tell_event(event: LauncherEvent) -> None:
    first = event.detail.splitlines()[0] if event.detail else ""
    style = "yellow" if event.kind in {"died", "killed"} else "dim"
    err.print(f"[{style}]{event.child} {event.kind} (pid {event.pid}) {escape(first)}[/]", soft_wrap=True)
