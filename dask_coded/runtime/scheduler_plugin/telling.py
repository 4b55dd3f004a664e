"""Tells users what only the scheduler knows: as warnings, in the processes of its clients.

Dask's clients listen to the topic "warn", for `distributed.worker.warn`. So it costs one
message, and no computation waits for it.
"""

from __future__ import annotations

import logging
from typing import Any
from weakref import WeakKeyDictionary

from distributed.protocol import pickle
from distributed.scheduler import Scheduler

from dask_coded.errors import CodedWarning

__all__ = ["warn_clients"]

logger = logging.getLogger("distributed.scheduler.coded")
#: Clients that have been told, by message: they are told the same thing once.
_told: WeakKeyDictionary[Any, dict[str, set[str]]] = WeakKeyDictionary()


def warn_clients(message: str) -> None:
    """Have clients of the schedulers in this process warn; called by the optimizer, from any thread."""
    logger.info("%s", message)
    for scheduler in list(Scheduler._instances):
        if scheduler.status.name == "running":
            scheduler.loop.add_callback(_tell, scheduler, message)


def _tell(scheduler: Scheduler, message: str) -> None:
    told = _told.setdefault(scheduler, {}).setdefault(message, set())
    clients = set(scheduler.clients)
    if not clients <= told:
        told |= clients
        event = {"message": pickle.dumps(message), "category": pickle.dumps(CodedWarning)}
        scheduler.log_event("warn", event)
