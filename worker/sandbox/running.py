"""Runs a sandbox: in a thread for tests (`running_sandbox`), or as the whole process (`serve_sandbox`)."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from worker.sandbox.client import SandboxClient
from worker.sandbox.server import SandboxServer
from worker.sandbox.settings import SandboxSettings

_DEFAULTS = SandboxSettings()
_START_SECONDS = 60
_SELDOM = (10_000, 100, 1_000)


@contextmanager
def running_sandbox(settings: SandboxSettings = _DEFAULTS) -> Iterator[SandboxClient]:
    """A sandbox in a thread of its own for as long as the block lasts; OSError if it cannot listen."""
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    # A daemon: one that has not begun within its time is not waited for at the end of the process either.
    thread = threading.Thread(
        target=lambda: asyncio.run(_serve_until_told(settings, started)), name="sandbox", daemon=True
    )
    thread.start()
    try:
        root_url, loop, told = started.result(_START_SECONDS)
    except BaseException:
        started.cancel()
        raise
    try:
        yield SandboxClient(root_url, settings.key)
    finally:
        loop.call_soon_threadsafe(told.set)
        thread.join()


async def _serve_until_told(
    settings: SandboxSettings, started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]]
) -> None:
    told = asyncio.Event()
    try:
        async with SandboxServer(settings) as server:
            if started.set_running_or_notify_cancel():
                started.set_result((server.root_url, asyncio.get_running_loop(), told))
                await told.wait()
    except OSError as problem:
        if not started.cancelled():
            started.set_exception(problem)


def serve_sandbox(settings: SandboxSettings) -> None:
    """Serve until SIGTERM or SIGINT, after one line on stdout that says where; OSError if it cannot listen."""
    # While everything is collected nothing is looked at, and calls that come meanwhile seem to have come together.
    gc.freeze()
    gc.set_threshold(*_SELDOM)
    asyncio.run(_serve_until_signalled(settings))


async def _serve_until_signalled(settings: SandboxSettings) -> None:
    signalled = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    async with SandboxServer(settings) as server:
        sys.stdout.write(f"sandbox LeadByte ready on {server.root_url} (seed {settings.seed})\n")
        sys.stdout.flush()
        await signalled.wait()
