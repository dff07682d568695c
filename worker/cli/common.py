"""What several commands share: their options, and the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy import Engine

from worker.settings import load_settings
from worker.store.db import open_engine

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
AccountOption = Annotated[
    str | None, typer.Option("--account", "-a", help="LeadByte account, where there are several.")
]


@contextmanager
def command_engine() -> Iterator[Engine]:
    """An engine for the length of one command."""
    engine = open_engine(load_settings().required_database_url(), pool_size=2)
    try:
        yield engine
    finally:
        engine.dispose()
