"""Lets workers run a task anew from something else than before.

Dask never changes a task's dependencies. A worker that has run a task, or has begun to,
remembers what it was to be computed from, and would wait for that as well. And when it
forgets what it has once computed from a task, it forgets that task too, although it was
told to compute it: if it was fetching it before (state "resumed").
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import WorkerPlugin

if TYPE_CHECKING:
    from distributed.worker import Worker

__all__ = ["UnlinkPlugin"]

OPERATION = "compute-task"


class UnlinkPlugin(WorkerPlugin):  # type: ignore[misc]
    """Cuts edges that are out of date before a worker hears of a task; the vault registers it."""

    name = "dask-coded-unlink"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Begin to read along."""
        self.tasks: dict[Hashable, Any] = worker.state.tasks
        self.compute_task: Callable[..., Any] = worker.stream_handlers[OPERATION]
        worker.stream_handlers[OPERATION] = self.on_compute_task

    def teardown(self, worker: Worker) -> None:
        """Leave the worker as it was."""
        worker.stream_handlers[OPERATION] = self.compute_task

    def on_compute_task(self, **message: Any) -> Any:
        """Answer the scheduler's message in the worker's place, then let the worker have it."""
        self.unlink(message["key"], message["who_has"])
        return self.compute_task(**message)

    def unlink(self, key: Hashable, needed: Collection[Hashable]) -> None:
        """Cut a task's edges to all but what it needs now and what waits for it."""
        ts = self.tasks.get(key)
        if ts is None or ts.state in ("executing", "long-running"):
            return
        for dependency in [dep for dep in ts.dependencies if dep.key not in needed]:
            ts.dependencies.discard(dependency)
            ts.waiting_for_data.discard(dependency)
            dependency.dependents.discard(ts)
            dependency.waiters.discard(ts)
            if dependency.state == "released" and not dependency.dependents:
                self.tasks.pop(dependency.key, None)
        if ts.state != "memory":
            for dependent in [dep for dep in ts.dependents if ts not in dep.waiting_for_data]:
                ts.dependents.discard(dependent)
                ts.waiters.discard(dependent)
                dependent.dependencies.discard(ts)
