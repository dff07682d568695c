"""Each action at most once: asked, sent, answered, concluded; on real Postgres and over HTTP."""

from __future__ import annotations

from conftest import Stage


def test_first(stage: Stage) -> None:
    (held,) = stage.hold("sandbox-quarantined-0001")
    print(stage.ask("release", "sandbox-quarantined-0001"), stage.rows())
    print(stage.ask("release", held))
    print(stage.send())
    print(stage.rows())
    print(stage.effects())
    stage.poll()
    stage.look()
    print(stage.rows())
    assert 0
