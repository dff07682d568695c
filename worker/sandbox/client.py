"""Talks to a running sandbox, in this process or another: submit leads, script faults, ask for the truth."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 30
_SUBMITTED_AT_ONCE = 500


class SandboxClient:
    """The control plane and the submission call, one method each. RuntimeError says what the sandbox objected to."""

    def __init__(self, root_url: str, key: str) -> None:
        self.root_url = root_url
        self.base_url = f"{root_url}/restapi/v1.3"
        self._address = urlsplit(root_url).netloc
        self._key = key

    def submit(self, count: int = 1, *, key: str | None = None, fields: Mapping[str, Any] | None = None) -> list[str]:
        """Submit leads as a capture site would; their queue IDs."""
        headers = {"X_KEY": key or self._key}
        leads = [_make_lead(number, fields or {}) for number in range(count)]
        queue_ids: list[str] = []
        for start in range(0, count, _SUBMITTED_AT_ONCE):
            body = {"leads": leads[start : start + _SUBMITTED_AT_ONCE]}
            answer = self._ask("POST", "/restapi/v1.3/leads", body, headers)
            entries = answer.get("results") or answer["records"]
            queue_ids.extend(entry["queueId"] for entry in entries)
        return queue_ids

    def health(self) -> dict[str, Any]:
        """Seed, number of leads, and the sandbox's clock."""
        return self._ask("GET", "/sandbox/health")

    def truth(self, account: str | None = None) -> dict[str, dict[str, Any]]:
        """What is true of every lead now, by queue ID."""
        return self._ask("GET", f"/sandbox/truth?account={account}" if account else "/sandbox/truth")

    def calls(self, *, instants: bool = False) -> dict[str, Any]:
        """What was asked, how often and how much at once."""
        return self._ask("GET", "/sandbox/calls?instants=1" if instants else "/sandbox/calls")

    def actions(self) -> list[dict[str, Any]]:
        """Every quarantine action that took effect, oldest first."""
        actions: list[dict[str, Any]] = self._ask("GET", "/sandbox/actions")["actions"]
        return actions

    def script(self, match: str, fault: str, times: int | None = None) -> None:
        """Make matching calls go wrong: `*`, `@poll` (or another kind), or how an ID begins."""
        self._ask("POST", "/sandbox/script", {"match": match, "fault": fault, "times": times})

    def clear_script(self) -> None:
        """Forget every scripted fault."""
        self._ask("DELETE", "/sandbox/script")

    def advance(self, seconds: float) -> float:
        """Move the sandbox's clock forward; its new Unix seconds."""
        return float(self._ask("POST", "/sandbox/advance", {"seconds": seconds})["now"])

    def rotate_key(self, account: str, key: str) -> None:
        """Replace an account's key."""
        self._ask("POST", "/sandbox/key", {"account": account, "key": key})

    def act_as_person(self, quarantine_id: int, action: str) -> bool:
        """Release ("process") or reject by hand in LeadByte; whether it took effect."""
        answer = self._ask("POST", "/sandbox/person", {"quarantine_id": quarantine_id, "action": action})
        return bool(answer["took_effect"])

    def _ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        # http.client knows neither proxies nor redirects: nothing from the environment gets between.
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT_SECONDS)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, dict(headers or {}))
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise RuntimeError(f"sandbox refused {method} {path}: {answer.get('error') or answer.get('message')}")
        return answer


def _make_lead(number: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    lead = {"firstname": f"Casey{number}", "email": f"casey{number}@example.com", "postcode": "TN25 6QD"}
    return {"lead": {**lead, **fields}}
