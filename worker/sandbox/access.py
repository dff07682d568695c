"""Who may call what: the key's account, where the key may stand, and the permissions it has."""

from __future__ import annotations

from worker.sandbox.call import list_objects
from worker.sandbox.protocol import Reply, Request, encode_json
from worker.sandbox.settings import (
    PERMISSION_PROCESS,
    PERMISSION_QUEUE,
    PERMISSION_UPDATE,
    KeyPlace,
    SandboxSettings,
)
from worker.sandbox.shapes import shape_error

_ANYWHERE: frozenset[KeyPlace] = frozenset({"query", "header", "body"})
_HEADER_ONLY: frozenset[KeyPlace] = frozenset({"header"})


class Access:
    """The keys in force; they can be rotated while the sandbox runs."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._accounts = settings.account_keys()

    def identify_account(self, kind: str, request: Request, payload: object) -> str | None:
        """The account whose key stands where this kind of call may carry it."""
        body = payload if isinstance(payload, dict) else {}
        found = {"header": request.headers.get("x_key"), "query": request.query.get("key"), "body": body.get("key")}
        keys = (found[place] for place in self._list_places(kind))
        return next((self._accounts[key] for key in keys if isinstance(key, str) and key in self._accounts), None)

    def rotate_key(self, account: str, key: str) -> None:
        """From now on only the new key opens the account; ValueError if there is no such account."""
        if account not in self._accounts.values():
            raise ValueError(f"no account is called {account!r}")
        self._accounts = {old: name for old, name in self._accounts.items() if name != account} | {key: account}

    def list_missing(self, kind: str, payload: object) -> list[str]:
        """The permissions this call needs and the key lacks."""
        needed = {
            "poll": [PERMISSION_QUEUE],
            "poll_batch": [PERMISSION_QUEUE],
            "update": [PERMISSION_UPDATE, *([PERMISSION_PROCESS] if _asks_for_action(payload) else [])],
            "process": [PERMISSION_PROCESS],
        }
        return [name for name in needed.get(kind, []) if name in self._settings.missing_permissions]

    def _list_places(self, kind: str) -> frozenset[KeyPlace]:
        if kind in {"poll", "poll_batch"}:
            return self._settings.auth_accepted
        return _HEADER_ONLY if kind in {"update", "process"} else _ANYWHERE


def _asks_for_action(payload: object) -> bool:
    return isinstance(payload, dict) and any("action" in item for item in list_objects(payload.get("leads")))


def refuse_key() -> Reply:
    """What an unknown or missing key gets."""
    body = shape_error("Invalid API key", "The API key is missing or not known")
    return encode_json(body, 401)


def refuse_permission(missing: list[str]) -> Reply:
    """What a key without a permission gets; the message names it."""
    body = shape_error(f"API key lacks permission: {', '.join(missing)}", *missing)
    return encode_json(body, 403)
