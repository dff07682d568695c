"""What a sandbox can be told before it starts. Read by every other file here; reads none of them but the weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from worker.sandbox.stories import PRESETS, STORIES

Block = Literal["deliveries", "campaign", "supplier", "buyer", "lead"]
KeyPlace = Literal["query", "header", "body"]
BlockPlace = Literal["response", "record", "root"]

PERMISSION_QUEUE = "API queue"
PERMISSION_UPDATE = "Leads > Update"
PERMISSION_PROCESS = "Leads > Quarantine Process"
_LAST_PORT = 65535
PERMISSIONS = frozenset({PERMISSION_QUEUE, PERMISSION_UPDATE, PERMISSION_PROCESS})


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """All of it, with defaults that need no thought; ValueError names the setting that makes no sense."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free port."""
    seed: int = 1
    median_seconds: float = 2.0
    """Median of each wait between two steps of a lead's story (lognormal)."""
    sigma: float = 0.8
    return_seconds: float | None = None
    """Median of the wait from approval to return; None is three times `median_seconds`."""
    action_seconds: float = 0.2
    """From "queued for processing" until a release or a rejection takes effect."""
    account: str = "sandbox"
    key: str = field(default="sandbox-key", repr=False)
    other_accounts: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further accounts on the same server: name to key."""
    preset: str = "everyday"
    weights: Mapping[str, int] = field(default_factory=dict)
    """Laid over the preset, story by story; 0 leaves a story out."""
    appended: frozenset[Block] = frozenset(get_args(Block))
    """The blocks this key's API Queue settings append to a record."""
    blocks_in: BlockPlace = "response"
    all_buyer_statuses: bool = True
    """False hides every buyer but the Sold, as without "Include Buyer Statuses"."""
    live_buyer_responses: bool = False
    """True answers a submission in the polled shape, already at the story's first step."""
    auth_accepted: frozenset[KeyPlace] = frozenset({"query", "header", "body"})
    """Where apiqueue takes the key from (the quarantine calls take the header only, as documented)."""
    missing_permissions: frozenset[str] = frozenset()
    not_found_http_status: int = 200
    latency_seconds: float = 0.0
    slow_seconds: float = 3.0
    drip_seconds: float = 0.5
    empty_above_concurrency: int | None = None
    """More calls than this at once under one key are answered with a silently empty 200."""
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        """Refuse what could only surprise later."""
        if not 0 <= self.port <= _LAST_PORT:
            raise ValueError(f"port {self.port} does not exist")
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is none of {', '.join(PRESETS)}")
        if unknown := set(self.weights) - set(STORIES):
            raise ValueError(f"weights name unknown stories: {', '.join(sorted(unknown))}")
        if any(weight < 0 for weight in self.weights.values()) or not any(self.story_weights().values()):
            raise ValueError("weights must be whole numbers from 0, and not all of them 0")
        if odd := self.missing_permissions - PERMISSIONS:
            raise ValueError(f"missing_permissions names unknown permissions: {', '.join(sorted(odd))}")

    def story_weights(self) -> dict[str, int]:
        """The preset with `weights` laid over it."""
        return {**PRESETS[self.preset], **self.weights}

    def account_keys(self) -> dict[str, str]:
        """Account name by key."""
        return {self.key: self.account, **{key: account for account, key in self.other_accounts.items()}}
