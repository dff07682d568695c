"""What a request asks for: the kind of LeadByte call, its payload, and the IDs it speaks of."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from worker.sandbox.lead import Lead
from worker.sandbox.protocol import Request
from worker.sandbox.shapes import Json

_PATH = re.compile(r"/restapi/v1\.[23]/(leads|quarantine/process|apiqueue)(?:/([^/]*))?", re.DOTALL)
_KINDS = {
    ("POST", "leads", False): "submit",
    ("PUT", "leads", False): "update",
    ("POST", "quarantine/process", False): "process",
    ("GET", "apiqueue", False): "poll_batch",
    ("GET", "apiqueue", True): "poll",
}


@dataclass(slots=True)
class Call:
    """One call of LeadByte's API. `targets` are the queue or quarantine IDs it is about."""

    kind: str
    account: str
    payload: object
    targets: list[str]
    leads: list[Lead] = field(default_factory=list)

    @property
    def body(self) -> Json:
        """The payload if it is an object, else an empty one."""
        return self.payload if isinstance(self.payload, dict) else {}


def identify_kind(request: Request) -> tuple[str, str] | None:
    """The kind of call and the ID in its path; None for what LeadByte does not offer."""
    found = _PATH.fullmatch(request.path)
    kind = _KINDS.get((request.method, found[1], found[2] is not None)) if found else None
    return (kind, found[2] or "") if found and kind else None


def read_payload(request: Request) -> object:
    """The JSON body, {} without one; ValueError if it is no JSON."""
    if not request.body:
        return {}
    try:
        return json.loads(request.body)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def list_targets(kind: str, path_id: str, payload: object) -> list[str]:
    """The queue or quarantine IDs a call speaks of."""
    if kind == "poll":
        return [path_id]
    body = payload if isinstance(payload, dict) else {}
    if kind == "poll_batch":
        return _as_texts(body.get("queueIds"))
    if kind == "process":
        return _as_texts([body["quarantineId"]] if "quarantineId" in body else body.get("quarantineIds"))
    if kind == "update":
        return _as_texts([item.get("quarantineId") for item in list_objects(body.get("leads"))])
    return []


def list_objects(values: object) -> list[Json]:
    """The JSON objects in what should be a list of them."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _as_texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else []
