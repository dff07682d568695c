"""Queue IDs that tell the sandbox what to do: `sandbox-NAME-…`, with no submission needed.

Each further step of a magic story follows after exactly one median wait.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from worker.sandbox.faults import FAULTS
from worker.sandbox.stories import STORIES

PREFIX = "sandbox-"
OPTIONS = {
    "after": "the story's first step comes N seconds after the first poll (0)",
    "times": 'the fault happens N times, the story "approved" follows (for ever)',
    "at": "cut after byte N (the middle of the body)",
    "wait": "slow: N seconds; 429: N in Retry-After",
}
_OPTION = re.compile(rf"({'|'.join(OPTIONS)})(\d{{1,6}})", re.ASCII)
_REJECTED_WITHOUT_CODE = "rejected-5"


@dataclass(frozen=True, slots=True)
class Magic:
    """What a name asks for: a story, and perhaps a fault on the way to it."""

    story: str
    fault: str | None = None
    after: int = 0
    times: int | None = None
    at: int | None = None
    wait: int | None = None


def read_magic(text: str) -> Magic | None:
    """Read `sandbox-NAME-…`; None when the name is unknown."""
    return read_name(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else None


def read_name(text: str) -> Magic | None:
    """Read `NAME-option-…`, as scripts write it; the rest is free."""
    name, *rest = text.split("-")
    options = {found[1]: int(found[2]) for token in rest if (found := _OPTION.fullmatch(token))}
    if name == "rejected":
        coded = f"rejected-{rest[0]}" if rest else ""
        name = coded if coded in STORIES else _REJECTED_WITHOUT_CODE
    if name in STORIES:
        return Magic(name, None, **options)
    return Magic("approved", name, **options) if name in FAULTS else None


def describe_names() -> list[tuple[str, str]]:
    """Every magic name with what it does, for people: stories, then faults, then the options between name and rest."""
    stories = [(f"{PREFIX}{story.name}-…", story.does) for story in STORIES.values()]
    faults = [(f"{PREFIX}{fault.name}-…", fault.does) for fault in FAULTS.values()]
    return [*stories, *faults, *((f"{PREFIX}NAME-{option}N-…", does) for option, does in OPTIONS.items())]
