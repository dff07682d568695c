"""What the doctor finds: one line each. Neighbour: `worker.doctor`, which looks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """How a question was answered."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, how it is, and what to do if it is not well."""

    mark: Mark
    subject: str
    text: str
