"""The product for real work on this machine: worker, beat, Flower, and embedded servers for what is not configured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from worker.accounts import require_accounts
from worker.local.folder import claim_data_folder, read_or_create_secret
from worker.local.postgres import EmbeddedPostgres
from worker.local.processes import Launcher, LauncherEvent
from worker.local.redis import EmbeddedRedis
from worker.local.stack import FlowerPage, child_environment, choose_flower_page, list_processes, write_environment
from worker.settings import Settings
from worker.store.db import open_engine
from worker.store.migrate import migrate_to_head


@dataclass(frozen=True, slots=True)
class Running:
    """What runs: where the data is, where Flower is, and a check that restarts what died."""

    folder: Path
    database: str
    redis: str
    page: FlowerPage
    keep_up: Callable[[], None]


@contextmanager
def running_product(
    settings: Settings, processes: int | None, on_event: Callable[[LauncherEvent], None]
) -> Iterator[Running]:
    """Start everything; ends it all when the block ends. The data folder stays.

    Raises:
        SettingsError: no account is configured.
        LocalServerError: something did not start, or the folder is in use.
    """
    require_accounts(settings)
    with ExitStack() as stack:
        folder = stack.enter_context(claim_data_folder(settings.lead_resolver_data))
        servers: list[EmbeddedPostgres | EmbeddedRedis] = []
        if settings.database_url is None:
            servers.append(stack.enter_context(EmbeddedPostgres(folder)))
            database_url = servers[-1].url
        else:
            database_url = settings.database_url.get_secret_value()
        if settings.redis_url is None:
            servers.append(stack.enter_context(EmbeddedRedis(folder)))
            redis_url = servers[-1].url
        else:
            redis_url = settings.redis_url.get_secret_value()
        _migrate(database_url)
        launcher = stack.enter_context(Launcher(folder / "logs", on_event=on_event))
        page = choose_flower_page(read_or_create_secret(folder / "flower-password"))
        addresses = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
        environment = child_environment(**addresses)
        write_environment(folder, addresses)
        for process in list_processes(environment, page, worker_processes=processes, restart=True):
            launcher.start(process)

        def keep_up() -> None:
            launcher.check()
            for server in servers:
                server.check()

        yield Running(folder, _say_where(database_url), _say_where(redis_url), page, keep_up)


def run_until_stopped(running: Running) -> None:
    """Keep everything up until a signal comes or a server dies."""
    while True:
        running.keep_up()
        time.sleep(0.5)


def _migrate(database_url: str) -> None:
    engine = open_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    try:
        migrate_to_head(engine)
    finally:
        engine.dispose()


def _say_where(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)
