"""Compute arrays coded where that would not pay, and find what a computation leaves behind."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Any

from distributed import Client

import dask_coded as dc
from dask_coded.runtime.scheduler_plugin.acts import CLIENT

#: On a busy machine a task can be late without a fault, and a decoded block has other bits.
CALM = {"min_task_runtime": "1 hour", "silence": "1 hour"}


def forced(**settings: Any) -> dc.coded:
    """Code every product; nothing is ever late unless `settings` say so."""
    return dc.coded(**{"force": True, "late": CALM, **settings})


def coded_groups(client: Client) -> int:
    return int(dc.report(client).to_dict()["groups"])


def leftovers(client: Client, seconds: float = 60.0) -> list[Any]:
    """Wait until everything is released; return the keys and clients that stay."""
    scheduler = client.cluster.scheduler
    deadline = monotonic() + seconds
    found: list[Any] = [None]
    while found and monotonic() < deadline:
        sleep(0.01)
        found = [*scheduler.tasks, *(scheduler.clients.keys() & {CLIENT})]
        found += found or sum(client.run(lambda dask_worker: list(dask_worker.data)).values(), [])
    return found
