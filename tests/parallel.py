"""How is the suite spread over processes? Each worker of pytest-xdist has servers, ports and folders of its own.

Most of the time is waiting, so three workers pay even on two cores. `-n 0` or `-p no:xdist` runs it in one process,
as does naming files or tests, `-k`, `-s`, `--pdb` and the soak: where a person looks on, or the machine is to be alone.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling
from xdist.workermanage import WorkerController

WORKERS = 3
# Tests that start real worker processes, each several: more of them at once would wait for the cores alone.
MOST_WITH_PROCESSES = 2


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run in parallel where nothing was said about it; comes before xdist's own look at the options."""
    option = config.option
    if "PYTEST_XDIST_WORKER" in os.environ or not config.pluginmanager.hasplugin("xdist"):
        return  # a worker must not start workers
    if option.numprocesses is None and option.dist == "no":
        option.numprocesses = 0 if _is_watched(config) else WORKERS
        option.dist = "loadscope" if option.numprocesses else "no"
        # In the order of collection, by which `_choose_scope` goes.
        option.loadscopereorder = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Ours, unless another was asked for."""
    return _FewWithProcesses(config, log) if config.option.dist == "loadscope" else None


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Odd bytes by their name: what is packed with a time stamp would be another test in each worker."""
    return argname if isinstance(val, bytes) and not val.isascii() else None


def _is_watched(config: pytest.Config) -> bool:
    option = config.option
    names_tests = any("::" in argument or argument.endswith(".py") for argument in config.args)
    is_soak = "soak" in option.markexpr.replace("not soak", "")
    return bool(names_tests or is_soak or option.keyword or option.usepdb or option.capture == "no")


class _FewWithProcesses(LoadScopeScheduling):
    """A file is a unit, so that what its tests share is made once; a test with processes is a unit of its own."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if self._has_processes(nodeid) else nodeid.partition("::")[0]

    def _reschedule(self, node: WorkerController) -> None:
        # A worker starts a test when it knows the next: two are enough, and a third would wait in the wrong queue.
        if not self.workqueue or self._pending_of(self.assigned_work[node]) < 2:
            super()._reschedule(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        scope = self._choose_scope(node)
        if scope is None:
            node.shutdown()  # it finishes what it has; the rest is for those that may
        else:
            self.workqueue.move_to_end(scope, last=False)
            super()._assign_work_unit(node)

    def _choose_scope(self, node: WorkerController) -> str | None:
        busy = [other for other in self.nodes if other is not node and self._is_on_processes(other)]
        with_processes = next(filter(self._has_processes, self.workqueue), None)
        # The long ones first, and beside them those that mostly wait: the folders at the alphabet's end. Those that
        # compute, in many short files, come last, and keep all cores busy to the end.
        without = next((scope for scope in reversed(self.workqueue) if not self._has_processes(scope)), None)
        return with_processes or without if len(busy) < MOST_WITH_PROCESSES else without

    def _is_on_processes(self, node: WorkerController) -> bool:
        units = self.assigned_work[node].items()
        return any(self._has_processes(scope) and not all(unit.values()) for scope, unit in units)

    def _has_processes(self, nodeid: str) -> bool:
        return is_marked(self.config.rootpath / nodeid.partition("::")[0])


@cache
def is_marked(path: Path) -> bool:
    """Whether the tests of this file start worker processes."""
    # Markers are known where tests are collected, and units are made elsewhere: the mark is looked up in the file.
    return "pytestmark = pytest.mark.processes" in path.read_text(encoding="utf-8")
