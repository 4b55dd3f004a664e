"""Makes workers ready for blocks on a device, once, before the first of them is late."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from distributed.diagnostics.plugin import WorkerPlugin

from dask_coded.kernels.devices import prepare

if TYPE_CHECKING:
    from distributed.worker import Worker

__all__ = ["DevicePlugin"]

logger = logging.getLogger("distributed.worker.coded")


class DevicePlugin(WorkerPlugin):  # type: ignore[misc]
    """Sets up the device of a worker that has CuPy and one; does nothing elsewhere."""

    name = "dask-coded-device"
    idempotent = True

    async def setup(self, worker: Worker) -> None:
        """Set up the device in a thread: it takes long, and the worker has to answer meanwhile."""
        try:
            if await asyncio.to_thread(prepare):
                logger.info("%s is ready for blocks on its device", worker.address)
        except Exception:
            # A worker whose device is broken still is of use for everything else.
            logger.exception("the device of %s cannot be used", worker.address)
