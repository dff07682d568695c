"""A database with very many rows, for the tests of what statements read in it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from worker.local.postgres import EmbeddedPostgres
from worker.store.db import open_engine


@contextmanager
def open_big_database(postgres: EmbeddedPostgres, template: str, fill: str | Callable[[str], None]) -> Iterator[Engine]:
    """A copy of the template, filled by a script, or by what takes the copy's URL."""
    name = f"big_{secrets.token_hex(4)}"
    url = make_url(postgres.url).set(database=name)
    plain = url.render_as_string(hide_password=False)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"create database {name} template {template}")
        if callable(fill):
            fill(plain)
        else:
            with psycopg.connect(plain) as filling:
                filling.execute(fill)
        engine = open_engine(url.set(drivername="postgresql+psycopg"))
        yield engine
        engine.dispose()
        connection.execute(f"drop database {name} with (force)")
