"""What anybody could push into the Redis queues: repeated, unknown, malformed, pickled. Nothing comes of it."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.processes.invariants import check_invariants
from tests.processes.stage import LEAD_DATA, Stage, is_alive

pytestmark = pytest.mark.processes

ODD_LIMITS: list[Any] = ["x", [1, "x"], ["x", None], {"x": 1}]
QUEUES = ("schedule", "polling", "results", "intake")


class _Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self._path), "w")


def _envelope(
    body: bytes, content_type: str, task: str = "polling.poll", encoding: str = "utf-8", **more: object
) -> str:
    headers = {"lang": "py", "task": task, "id": "0-0", "argsrepr": repr(LEAD_DATA), "kwargsrepr": "{}", **more}
    delivery = {"exchange": "", "routing_key": "polling"}
    properties = {"delivery_tag": "0-0", "body_encoding": "base64", "delivery_mode": 2, "delivery_info": delivery}
    message = {"body": base64.b64encode(body).decode(), "content-type": content_type, "content-encoding": encoding}
    return json.dumps({**message, "headers": headers, "properties": properties})


def _push_garbage(client: Redis, bomb: Path) -> None:
    pickled = pickle.dumps([[_Bomb(bomb)], {}, {}])
    data = json.dumps([[LEAD_DATA], {}, {}]).encode()
    messages = [
        "no JSON " + json.dumps(LEAD_DATA),
        "{}",
        "[]",
        "null",
        json.dumps({"body": 5, "properties": LEAD_DATA}),
        _envelope(pickled, "application/x-python-serialize", encoding="binary"),
        _envelope(pickled, "application/json"),
        _envelope(data[:-9], "application/json"),
        _envelope(data, "text/x-unheard-of"),
        _envelope(data, "application/json", task="nobody.knows"),
        _envelope(data, "application/json"),
        _envelope(json.dumps(LEAD_DATA).encode(), "application/json"),
        # Celery looks at these only when it has counted the message: two of them used to hold a worker for good.
        *(_envelope(b"[[], {}, {}]", "application/json", timelimit=odd) for odd in ODD_LIMITS),
    ]
    for queue in QUEUES:
        client.lpush(queue, *messages)


def test_messages_that_nobody_of_ours_sent_do_nothing(stage: Stage, tmp_path: Path) -> None:
    bomb = tmp_path / "exploded"
    worker, _ = stage.start_worker(children=2), stage.start_beat()
    stage.wait_until_ready("worker")
    with stage.open_redis() as client:
        _push_garbage(client, bomb)
        stage.send("polling.poll", times=50, queue="polling")
        queue_ids = stage.submit(8)
        stage.send("polling.poll", times=50, queue="polling")
        stage.send("results.persist", times=50, queue="results")
        stage.send("rescue.sweep", times=50, queue="schedule")
        stage.send("intake.track", list(LEAD_DATA.values()), queue="intake")
        stage.send("intake.track", queue_ids, queue="intake")
        _push_garbage(client, bomb)
        stage.wait_until_resolved(queue_ids)
        stage.wait_until(lambda: not any(client.llen(queue) for queue in QUEUES), "every message is taken")
    assert set(stage.sandbox.calls()["polls"].values()) == {1}
    assert not bomb.exists()
    assert is_alive(worker)
    check_invariants(stage)
