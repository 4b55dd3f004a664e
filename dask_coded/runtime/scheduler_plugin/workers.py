"""Gives plugins to workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from distributed.protocol import pickle

if TYPE_CHECKING:
    from distributed.diagnostics.plugin import WorkerPlugin
    from distributed.scheduler import Scheduler

__all__ = ["give_plugin"]


def give_plugin(scheduler: Scheduler, plugin: WorkerPlugin) -> asyncio.Future[Any] | None:
    """Give a plugin to all workers, now and later; keep what is returned, None if they have it.

    Nothing waits for it: workers may have to import much, or be frozen.
    """
    if plugin.name in scheduler.worker_plugins:
        return None
    pickled = pickle.dumps(plugin)
    scheduler.worker_plugins[plugin.name] = pickled
    message = {"op": "plugin-add", "plugin": pickled, "name": plugin.name}
    asked: asyncio.Future[Any] = asyncio.ensure_future(scheduler.broadcast(msg=message, on_error="ignore"))
    return asked
