"""Which processes make up the product: what `demo` and `up` start, and Procfile and docker-compose.yml elsewhere."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.local.folder import write_private_file
from worker.local.ports import choose_free_port
from worker.local.processes import ChildSpec

CELERY = ("celery", "-A", "worker.celery_app")
# The same arguments stand in Procfile and docker-compose.yml; a test compares them.
# Gossip and mingle: workers need nothing of each other, they meet in Postgres.
WORKER_ARGUMENTS = ("worker", "--without-gossip", "--without-mingle", "--loglevel=INFO")
BEAT_ARGUMENTS = ("beat", "--loglevel=INFO")
# Read-only: whoever sees the page must not be able to stop workers. --max-tasks bounds its memory.
FLOWER_ARGUMENTS = ("flower", "--read-only", "--max-tasks=10000", "--persistent=False")


@dataclass(frozen=True, slots=True)
class FlowerPage:
    """Where Flower is and who may look: it listens on this machine only."""

    port: int
    user: str = "lead-resolver"
    password: str = ""

    @property
    def url(self) -> str:
        """Its address, without the password."""
        return f"http://127.0.0.1:{self.port}"


def choose_flower_page(password: str | None = None) -> FlowerPage:
    """A free port, and the password, or a fresh one."""
    return FlowerPage(choose_free_port(), password=password or secrets.token_urlsafe(9))


def list_processes(
    environment: Mapping[str, str], page: FlowerPage, *, worker_processes: int | None, restart: bool
) -> list[ChildSpec]:
    """Worker, beat and Flower as children of a launcher; `worker_processes` None: as the settings say."""
    flower_environment = {**environment, "FLOWER_BASIC_AUTH": f"{page.user}:{page.password}"}
    flower = (*FLOWER_ARGUMENTS, "--address=127.0.0.1", f"--port={page.port}")
    worker = WORKER_ARGUMENTS if worker_processes is None else (*WORKER_ARGUMENTS, f"--concurrency={worker_processes}")
    return [
        ChildSpec("worker", _argv(worker), environment, restart=restart),
        ChildSpec("beat", _argv(BEAT_ARGUMENTS), environment, restart=restart),
        ChildSpec("flower", _argv(flower), flower_environment, restart=restart),
    ]


def child_environment(**settings: str) -> dict[str, str]:
    """This process's environment with the settings laid over it."""
    return {**os.environ, **settings}


def write_environment(folder: Path, settings: Mapping[str, str]) -> None:
    """For other shells, `. FOLDER/environment`; private, since URLs hold passwords."""
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
    write_private_file(folder / "environment", "".join(lines))


def _argv(arguments: tuple[str, ...]) -> tuple[str, ...]:
    # By the interpreter, not by the script: whichever virtual environment runs us runs the children.
    return (sys.executable, "-m", *CELERY, *arguments)
