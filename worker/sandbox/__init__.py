"""A LeadByte to practise on, over real HTTP: for the demo, the tests and benchmarks. Knows nothing of `worker`."""

from __future__ import annotations

from worker.sandbox.client import SandboxClient
from worker.sandbox.magic import describe_names
from worker.sandbox.running import running_sandbox, serve_sandbox
from worker.sandbox.settings import SandboxSettings

__all__ = ["SandboxClient", "SandboxSettings", "describe_names", "running_sandbox", "serve_sandbox"]
