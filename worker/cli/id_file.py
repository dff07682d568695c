"""A file of IDs as a command reads it: streamed, its progress shown on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from worker.cli.output import err
from worker.errors import UsageError


@contextmanager
def open_file(path: Path, doing: str) -> Iterator[BinaryIO]:
    """The file given as `--file`; UsageError if it can't be read."""
    columns = (TextColumn(doing), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    # On stderr, and on a terminal only: --json stays JSON.
    with Progress(*columns, console=err, transient=True, disable=not err.is_interactive) as progress:
        try:
            stream = progress.open(path, "rb")
        except OSError as error:
            raise UsageError(f"--file {path} cannot be read: {error.strerror}") from None
        with stream:
            yield stream
