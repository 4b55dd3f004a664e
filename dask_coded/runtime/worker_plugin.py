"""Lets workers forget what a task depended on, so that it can run from something else.

Dask never changes a task's dependencies. A worker that has run a task, or fetched its
inputs, remembers them, and would wait for them again beside the new ones.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import WorkerPlugin

if TYPE_CHECKING:
    from distributed.worker import Worker

__all__ = ["OPERATION", "UnlinkPlugin"]

OPERATION = "coded-unlink"
#: Tasks in these states wait for nothing.
AT_REST = frozenset({"released", "memory", "fetch", "flight", "missing"})


class UnlinkPlugin(WorkerPlugin):  # type: ignore[misc]
    """Answers the scheduler's message `OPERATION`; the vault registers it."""

    name = "dask-coded-unlink"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Begin to listen. There is no end: messages may still be on their way then."""
        self.worker = worker
        worker.stream_handlers[OPERATION] = self.unlink

    def unlink(self, keys: Collection[Hashable], stimulus_id: str) -> None:
        """Cut the edges from tasks to what they were computed from."""
        tasks: dict[Hashable, Any] = self.worker.state.tasks
        for key in keys:
            ts = tasks.get(key)
            if ts is None or ts.state not in AT_REST:
                continue
            for dependency in ts.dependencies:
                dependency.dependents.discard(ts)
                dependency.waiters.discard(ts)
                if dependency.state == "released" and not dependency.dependents:
                    tasks.pop(dependency.key, None)
            ts.dependencies.clear()
            ts.waiting_for_data.clear()
            if ts.state == "released" and not ts.dependents:
                tasks.pop(key, None)
