"""Lets workers hear twice that another one is gone.

A worker that hears it ends the connections to that one. While it is only being connected to,
a second message finds the attempt ending already: distributed raises, and as an error in the
stream from the scheduler closes the worker and its nanny, a healthy worker is gone for good.
We tell of frozen workers, and the scheduler tells once more when it gives one up; a busy
worker hears both at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import WorkerPlugin

if TYPE_CHECKING:
    from distributed.worker import Worker

__all__ = ["FarewellPlugin"]

OPERATION = "remove-worker"
#: Seconds after which an attempt to connect that was being ended has ended.
SOON = 0.05


class FarewellPlugin(WorkerPlugin):  # type: ignore[misc]
    """Hears the second message later, once the first has had its effect."""

    name = "dask-coded-farewell"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Begin to read along."""
        self.call_later: Callable[..., Any] = worker.loop.call_later
        self.remove_worker: Callable[..., Any] = worker.stream_handlers[OPERATION]
        worker.stream_handlers[OPERATION] = self.on_remove_worker

    def teardown(self, worker: Worker) -> None:
        """Leave the worker as it was."""
        worker.stream_handlers[OPERATION] = self.remove_worker

    def on_remove_worker(self, **message: Any) -> None:
        """Answer the scheduler's message as the worker does, if need be a moment later."""
        try:
            self.remove_worker(**message)
        except RuntimeError:  # asyncio.Timeout.reschedule, of a timeout that is expiring
            self.call_later(SOON, self.on_remove_worker, **message)
