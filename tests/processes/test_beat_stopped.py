"""Beat gone: the doctor says so. Beat back after a long stand-still: a thousand ticks at once do no harm."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.processes.invariants import check_invariants
from tests.processes.stage import Stage, is_alive
from worker.cli.app import run_command

pytestmark = pytest.mark.processes


def _ask_doctor_about_beat(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    run_command(["doctor", "--json"])
    marks = {finding["subject"]: finding["mark"] for finding in json.loads(capsys.readouterr().out)}
    return str(marks["beat"])


def test_a_stopped_beat_is_seen_and_its_backlog_is_harmless(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.adopt_settings(monkeypatch)
    worker, beat = stage.start_worker(), stage.start_beat()
    stage.wait_until(lambda: bool(stage.query("select from resolver.ticks where duty = 'tick'")), "beat has ticked")
    assert _ask_doctor_about_beat(capsys) == "ok"

    os.kill(beat, signal.SIGTERM)
    stage.wait_until(lambda: not is_alive(beat), "beat has gone")
    with stage.open_redis() as client:
        stage.wait_until(lambda: client.llen("schedule") == 0, "its last tick is taken")
        stage.execute("update resolver.ticks set at = at - interval '20 seconds'")
        assert _ask_doctor_about_beat(capsys) == "failed"

        queue_ids = stage.submit(8)
        stage.send("polling.schedule", times=1000, queue="schedule")
        stage.start_beat("beat-again")
        stage.wait_until_resolved(queue_ids)
        stage.wait_until(lambda: client.llen("schedule") < 2, "the backlog is worked off")
    assert _ask_doctor_about_beat(capsys) == "ok"
    assert set(stage.sandbox.calls()["polls"].values()) == {1}
    assert is_alive(worker)
    check_invariants(stage)
