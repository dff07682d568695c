"""While everything goes wrong that LeadByte can do: the key and the leads' data stand in no place people look at."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.processes.invariants import check_invariants
from tests.processes.leaks import find_leaks, unpack
from tests.processes.stage import ACCOUNT, LEAD_DATA, SECRETS, Stage
from worker import operations
from worker.cli.app import run_command
from worker.local.stack import FlowerPage, choose_flower_page, list_processes

pytestmark = pytest.mark.processes

FAULTS = ("500", "reset", "truncated", "cut", "badutf8", "deep", "two", "other", "nul", "errornul", "503", "404")
REFUSALS = ("401", "login")  # each pauses the account
PAGES = ("/", "/tasks", "/workers", "/broker", "/api/tasks", "/api/workers?refresh=1", "/metrics")


@contextmanager
def _listening_to(redis: Redis) -> Iterator[list[str]]:
    """Every command that Redis is given meanwhile: all messages and all events pass there."""
    heard: list[str] = []
    with redis.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis has not annotated it

        def listen() -> None:
            try:
                heard.extend(command["command"] for command in monitor.listen())
            except (RedisError, OSError, ValueError):
                return  # hung up, below

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield heard
        finally:
            monitor.connection.disconnect()
            thread.join()


def _track_with_faults(stage: Stage, faults: Sequence[str]) -> list[str]:
    """One lead for each fault, which happens once; then the lead can be resolved."""
    queue_ids = stage.sandbox.submit(len(faults), fields=LEAD_DATA)
    for queue_id, fault in zip(queue_ids, faults, strict=True):
        stage.sandbox.script(queue_id, fault, 1)
    return stage.track(queue_ids)


def _wait_out_backoffs(stage: Stage, queue_ids: Sequence[str]) -> None:
    def hurry_and_look() -> bool:
        stage.execute(
            """
            update resolver.watches set next_poll_at = clock_timestamp()
            where claim_id is null and next_poll_at is not null and queue_id = any(:ids)
            """,
            ids=list(queue_ids),
        )
        return stage.count_resolved(queue_ids) == len(queue_ids)

    stage.wait_until(hurry_and_look, "all leads are resolved in spite of the faults")


def _start_flower(stage: Stage) -> FlowerPage:
    page = choose_flower_page()
    processes = list_processes(stage.environment, page, worker_processes=1, restart=False)
    (flower,) = (process for process in processes if process.name == "flower")
    stage.launcher.start(flower)
    return page


def _is_up(page: FlowerPage) -> bool:
    try:
        return _read_page(page, "/").startswith("200")
    except OSError:
        return False


def _read_page(page: FlowerPage, path: str) -> str:
    credentials = base64.b64encode(f"{page.user}:{page.password}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=20)
    try:
        connection.request("GET", path, headers={"Authorization": f"Basic {credentials}"})
        response = connection.getresponse()
        return f"{response.status} {response.read().decode('utf-8', 'replace')}"
    finally:
        connection.close()


def _read_flower(page: FlowerPage) -> Iterator[tuple[str, str]]:
    for path in PAGES:
        yield f"Flower's {path}", _read_page(page, path)
    for worker in json.loads(_read_page(page, "/api/workers").removeprefix("200 ")):
        yield f"Flower's page of {worker}", _read_page(page, f"/worker/{worker}")


def _read_commands(queue_ids: Sequence[str], capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[str, str]]:
    plain = [["config"], ["list"], ["report"], ["report", "--by", "buyer"], ["doctor"]]
    plain += [["show", queue_id] for queue_id in queue_ids]
    for command in (line for start in plain for line in (start, [*start, "--json"])):
        capsys.readouterr()
        run_command(command)
        said = capsys.readouterr()
        yield f"lead-resolver {' '.join(command)}", said.out + said.err


def test_neither_key_nor_lead_data_is_seen_anywhere(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.adopt_settings(monkeypatch)
    page = _start_flower(stage)
    stage.start_worker(children=2)
    stage.start_beat()
    stage.wait_until_ready("worker")
    with stage.open_redis() as redis, _listening_to(redis) as heard:
        queue_ids = _track_with_faults(stage, FAULTS)
        stage.wait_until(lambda: sum(stage.sandbox.calls()["by_fault"].values()) == len(FAULTS), "each fault happened")
        _wait_out_backoffs(stage, queue_ids)
        texts: list[tuple[str, str]] = []
        for refusal in REFUSALS:
            queue_ids += (refused := _track_with_faults(stage, [refusal]))
            stage.wait_until(
                lambda: bool(stage.query("select from resolver.accounts where pause_kind = 'key'")), "paused"
            )
            texts += _read_commands(refused, capsys)
            operations.resume(stage.engine, ACCOUNT)
            _wait_out_backoffs(stage, refused)
        stage.wait_until(lambda: _is_up(page), "Flower answers")
        texts += [*_read_flower(page), *_read_commands(queue_ids[:4], capsys)]
        stage.wait_until(lambda: "task-succeeded" in unpack("\n".join(heard)), "an event was heard")
    texts.append(("what Redis was given", "\n".join(heard)))
    assert "polling.poll" in dict(texts)["Flower's /api/tasks"]
    assert find_leaks(texts, SECRETS) == []
    check_invariants(stage)
