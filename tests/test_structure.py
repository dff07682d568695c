"""The parts that must say the same thing in several places do: tasks, queues, Procfile, compose, settings, README."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery import Celery

from worker.domain.lifecycle import MAY_BECOME, State
from worker.local.stack import BEAT_ARGUMENTS, CELERY, FLOWER_ARGUMENTS, WORKER_ARGUMENTS
from worker.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
PROCFILE = dict(
    line.split(": ", 1) for line in (ROOT / "Procfile").read_text(encoding="utf-8").splitlines() if line.strip()
)
PROCESSES = {"worker": WORKER_ARGUMENTS, "beat": BEAT_ARGUMENTS, "flower": FLOWER_ARGUMENTS}
TASKS = {
    "intake.track",
    "polling.schedule",
    "polling.poll",
    "quarantine.request",
    "quarantine.send",
    "results.persist",
    "rescue.sweep",
    "schedule.learn",
}


@pytest.fixture
def celery_app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1/nothing")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1/0")
    # Late: importing it reads the settings.
    from worker.celery_app import app
    from worker.tasks import poll  # noqa: F401 - registers the tasks

    return app


def test_every_task_is_routed_to_a_queue_that_the_workers_consume(celery_app: Celery) -> None:
    ours = {name for name in celery_app.tasks if not name.startswith("celery.")}
    assert ours == TASKS
    consumed = {queue.name for queue in celery_app.conf.task_queues}
    assert set(celery_app.conf.task_routes) == TASKS
    assert {route["queue"] for route in celery_app.conf.task_routes.values()} == consumed
    # A worker started without -Q consumes every declared queue; no process narrows that.
    for command in (*PROCFILE.values(), *(str(service.get("command")) for service in COMPOSE["services"].values())):
        assert "-Q" not in command
        assert "--queues" not in command


def test_no_task_keeps_a_result_or_takes_a_pickle(celery_app: Celery) -> None:
    assert all(task.ignore_result for name, task in celery_app.tasks.items() if name in TASKS)
    assert not celery_app.conf.get("result_backend")
    assert celery_app.conf.accept_content == ["json"]


def test_the_broker_url_that_flower_shows_hides_the_password(celery_app: Celery) -> None:
    assert celery_app.conf.broker_url.startswith("redis://")
    assert "LEADBYTE" not in str(celery_app.conf.humanize(with_defaults=False))


@pytest.mark.usefixtures("celery_app")
@pytest.mark.parametrize(("wanted", "cores", "processes"), [(0, 4, 4), (0, 1, 2), (0, 64, 8), (1, 8, 1), (64, 2, 64)])
def test_a_worker_has_a_process_a_core_unless_others_are_wanted(wanted: int, cores: int, processes: int) -> None:
    from worker.celery_app import choose_processes

    assert choose_processes(wanted, cores) == processes


def test_celery_starts_as_many_processes_as_that(celery_app: Celery) -> None:
    assert 2 <= celery_app.conf.worker_concurrency <= 8  # unless WORKER_PROCESSES is set, and here it is not


@pytest.mark.parametrize("name", PROCESSES)
def test_procfile_and_compose_run_what_demo_and_up_run(name: str) -> None:
    expected = [*CELERY, *PROCESSES[name]]
    in_procfile = shlex.split(re.sub(r"\$\{[^}]*\}", "X", PROCFILE[name].split(" && ")[-1]))
    in_compose = COMPOSE["services"][name]["command"]
    for command in (in_procfile, in_compose):
        assert command[: len(CELERY)] == list(CELERY)
        assert set(expected) <= set(command)


def test_flowers_password_is_required_and_on_no_command_line() -> None:
    assert PROCFILE["flower"].startswith(': "${FLOWER_BASIC_AUTH:?')  # Flower reads it from the environment itself
    assert "basic-auth" not in PROCFILE["flower"] + str(COMPOSE["services"]["flower"]["command"])


def test_procfile_and_compose_migrate_first() -> None:
    assert PROCFILE["release"] == "lead-resolver migrate"
    assert COMPOSE["services"]["migrate"]["command"] == ["lead-resolver", "migrate"]
    for name in PROCESSES:
        if name != "flower":
            assert COMPOSE["services"][name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_compose_publishes_flower_alone_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert published == {"flower": ["127.0.0.1:5555:5555"]}
    assert "FLOWER_BASIC_AUTH" in COMPOSE["services"]["flower"]["environment"]


def test_compose_checks_the_health_of_both_servers() -> None:
    for name in ("postgres", "redis"):
        assert COMPOSE["services"][name]["healthcheck"]["test"]


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    for name, field in Settings.model_fields.items():
        row = next((line for line in README.splitlines() if line.startswith(f"| `{name.upper()}`")), None)
        assert row is not None, f"{name.upper()} is not in README's table of settings"
        if field.default is not None:
            default = str(field.default).removesuffix(".0")
            assert f"`{str(default).lower() if isinstance(field.default, bool) else default}`" in row, row


def test_the_readme_names_every_transition_of_the_lifecycle() -> None:
    rows = re.findall(r"^\| (\w+) \| [^|]+ \| ([^|]+) \|$", README, re.MULTILINE)
    told = {old: set(new.split(", ")) for old, new in rows if old in set(State)}
    assert told == {str(old): {str(new) for new in MAY_BECOME[old]} for old in State}


def test_the_readme_is_short_and_begins_with_its_commands() -> None:
    lines = README.splitlines()
    assert len(lines) < 250
    assert any("lead-resolver demo" in line for line in lines[:25])


def test_no_file_is_too_long_to_answer_one_question() -> None:
    long = {path.name: n for path in (ROOT / "worker").rglob("*.py") if (n := len(path.read_text().splitlines())) > 250}
    assert long == {}
