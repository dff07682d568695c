"""What do the embedded servers share? Folder, secret, port, start, readiness, stop, kill.

Neighbours: postgres and redis say what is particular to each.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import ClassVar, Self

from worker.errors import LocalServerError
from worker.local.account import Identity
from worker.local.child import (
    describe_end,
    has_ended,
    kill_group,
    read_log_end,
    start_child,
    wait_until_ended,
)
from worker.local.folder import claim_data_folder, read_or_create_secret, write_private_file
from worker.local.ports import choose_free_port, is_port_free
from worker.local.signals import undisturbed

_READY_SECONDS = 120.0  # recovery after a crash in the midst of much work takes its time
_STOP_SECONDS = 15.0
_PORTS_TRIED = 5


class EmbeddedServer(ABC):
    """One server of ours on 127.0.0.1 with its data in a folder of its own."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    identity: Identity = "same"

    def __init__(self, folder: Path) -> None:
        self.home = folder.absolute() / self.name.lower()
        self.log = self.home / "server.log"
        self._password = ""
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._claim = ExitStack()

    @abstractmethod
    def build_url(self, password: str, port: int) -> str:
        """The URL under which clients reach it."""

    @abstractmethod
    def prepare(self) -> None:
        """Bring the data folder into a state that the server can start from."""

    @abstractmethod
    def build_argv(self) -> list[str]:
        """Its command line; contains no secret, since `ps` shows it to everybody."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves us now."""

    @property
    def url(self) -> str:
        """Where it is reached; stays the same over kill and start as long as nobody takes the port."""
        if not self._port:
            raise LocalServerError(f"{self.name} was never started: it has no address yet")
        return self.build_url(self._password, self._port)

    @property
    def pid(self) -> int:
        """The server's process number."""
        if self._process is None:
            raise LocalServerError(f"{self.name} is not running: it has no process number")
        return self._process.pid

    def start(self) -> None:
        """Start it and return when it serves; again after a stop, a kill or a crash.

        Raises:
            LocalServerError: it does not start (with the end of its log), or its folder is in use.
        """
        if self._process is not None and not has_ended(self._process):
            return
        try:
            self._bring_up()
        except OSError as error:
            self.stop()
            raise LocalServerError(f"{self.name} cannot be started in {self.home}: {error}") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it politely, after a grace by force; harmless when it does not run."""
        with undisturbed():
            if self._process is not None and not has_ended(self._process):
                self._process.send_signal(self.stop_signal)
                wait_until_ended([self._process], _STOP_SECONDS)
            self.kill()

    def kill(self) -> None:
        """SIGKILL of the whole server, as a crash would end it; `start()` recovers."""
        with undisturbed():
            if self._process is not None:
                self.kill_all(self._process)
            self._forget_process()

    def kill_all(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL all processes of the server."""
        kill_group(process)

    def check(self) -> None:
        """Raise when it died.

        Raises:
            LocalServerError: it is not running; with how it ended and the end of its log.
        """
        if self._process is None:
            raise LocalServerError(f"{self.name} is not running")
        if has_ended(self._process):
            raise self._describe_death(self._process)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run_to_end(self, argv: list[str], what: str) -> None:
        """Run a preparing program of this server; `stop()` ends it like the server itself."""
        process = self._spawn(argv)
        wait_until_ended([process], _READY_SECONDS)
        kill_group(process)
        if process.returncode != 0:
            raise LocalServerError(f"{what} failed ({describe_end(process.returncode)}):\n{read_log_end(self.log)}")
        self._process = None

    def _bring_up(self) -> None:
        self.stop()  # what an earlier crash of it left
        self._claim.enter_context(claim_data_folder(self.home))
        self._password = read_or_create_secret(self.home / "password")
        self.prepare()
        self._start_on_a_free_port()

    def _spawn(self, argv: list[str]) -> subprocess.Popen[bytes]:
        with undisturbed():
            self._process = start_child(
                argv,
                # Nothing of ours but the path: the environment may hold keys, and PGPORT and its like.
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
                log=self.log,
                death_signal=self.stop_signal,
                cwd=self.home,
                identity=self.identity,
            )
        return self._process

    def _start_on_a_free_port(self) -> None:
        for port in self._list_candidate_ports():
            self._port = port
            if self._comes_up(self._spawn(self.build_argv())):
                write_private_file(self.home / "port", f"{port}\n")
                return
        raise LocalServerError(f"{self.name} found no free port on 127.0.0.1 in {_PORTS_TRIED} attempts")

    def _list_candidate_ports(self) -> Iterator[int]:
        with suppress(OSError, ValueError):
            remembered = int((self.home / "port").read_text("ascii"))
            if is_port_free(remembered):
                yield remembered
        for _ in range(_PORTS_TRIED):
            yield choose_free_port()

    def _comes_up(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            # Asked in this order: an answer counts only if our server was alive to give it.
            if self.answers() and not has_ended(process):
                return True
            if has_ended(process):
                if is_port_free(self._port):
                    raise self._describe_death(process)
                self.kill_all(process)
                return False  # somebody took the port between our choosing it and our using it
            time.sleep(0.03)
        raise LocalServerError(f"{self.name} did not answer within {_READY_SECONDS:.0f} s:\n{read_log_end(self.log)}")

    def _describe_death(self, process: subprocess.Popen[bytes]) -> LocalServerError:
        self.kill_all(process)  # nothing of it may outlive its leader
        end = describe_end(process.returncode)
        return LocalServerError(f"{self.name} died ({end}); the end of {self.log}:\n{read_log_end(self.log)}")

    def _forget_process(self) -> None:
        self._process = None
        self._claim.close()
