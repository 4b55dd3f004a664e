"""Ways of keeping data in a cluster's memory, and how to lose a worker and see what becomes of the data.

Functions that take ``dask_scheduler`` run in the scheduler's process, which is on this machine, as the
workers are: they kill and look without a round trip in between.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import dask
import dask.array as da
import harness
import numpy as np
import psutil
from distributed import Client, LocalCluster, futures_of, wait

import dask_coded as dc

__all__ = [
    "WAYS",
    "Loss",
    "Way",
    "blocks_of",
    "burden",
    "clean",
    "cluster",
    "count",
    "fullest",
    "keys_of",
    "load",
    "lose",
    "marks",
    "processes",
    "resident",
    "until_settled",
    "wait_settled",
]

#: Seconds between two looks at the scheduler.
LOOK = 0.005
#: Seconds after which something that ought to happen is taken for stuck.
PATIENCE = 240.0
#: Seconds in which the memory manager (which looks every 2 s) has done what it will do.
PAUSE = 5.0


@dataclass(frozen=True)
class Way:
    """How an array is kept so that up to `parity` workers may be lost."""

    name: str
    keep: Callable[[Client, da.Array, int, int | None], da.Array]


def plain(client: Client, x: da.Array, parity: int, group: int | None) -> da.Array:
    (kept,) = dask.persist(x)
    return kept


def replicated(client: Client, x: da.Array, parity: int, group: int | None) -> da.Array:
    """Persist, then copy: `client.replicate` copies only what is in memory."""
    (kept,) = dask.persist(x)
    wait(kept)
    client.replicate(futures_of(kept), n=1 + parity)
    return kept


def coded(client: Client, x: da.Array, parity: int, group: int | None) -> da.Array:
    kept: da.Array = dc.persist(x, parity=parity, group=group)
    return kept


WAYS = {way.name: way for way in (Way("plain", plain), Way("replicate", replicated), Way("coded", coded))}


# ---------------------------------------------------------------- cluster


@contextmanager
def cluster(workers: int) -> Iterator[Client]:
    """Start worker processes of one thread each, under nannies, with Dask's own settings."""
    settings = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    # It only warns, and so many processes on few cores give it reason to.
    config = {"distributed.admin.tick.limit": "1h", "distributed.deploy.lost-worker-timeout": "1h"}
    with dask.config.set(config):
        with LocalCluster(n_workers=workers, **settings) as local, Client(local) as client:
            client.wait_for_workers(workers)
            yield client


def clean(client: Client, workers: int) -> None:
    """Let the cluster be as new: nothing of dask_coded is left in it to burden the other ways."""
    dc.uninstall(client)
    harness.settle(client, workers, PATIENCE)


def keys_of(x: da.Array) -> list[Hashable]:
    return [future.key for future in futures_of(x)]


def blocks_of(client: Client, x: da.Array) -> list[np.ndarray]:
    """Return the blocks of `x`; ``x.compute()`` would leave a copy of each on the worker that joins them."""
    blocks: list[np.ndarray] = client.gather(futures_of(x))
    return blocks


def fullest(client: Client, x: da.Array) -> list[str]:
    """Return all workers, those with the most blocks of `x` first."""
    held = Counter(worker for workers in client.who_has(x).values() for worker in workers)
    return sorted(harness.addresses(client), key=lambda worker: (-held[worker], worker))


def processes(client: Client, workers: Sequence[str]) -> dict[str, int]:
    """Return the process ids of workers by address."""
    found: dict[str, int] = client.run(os.getpid, workers=list(workers))
    return found


# ------------------------------------------------------------------- work


def load(file: str, seconds: float, seed: int, block_info: Any = None) -> np.ndarray:
    """Return a block of random numbers that takes its time, and leave a mark in `file`."""
    time.sleep(seconds)
    info = block_info[None]
    count(file)
    rng = np.random.default_rng([seed, *info["chunk-location"]])
    block: np.ndarray = rng.normal(size=info["chunk-shape"])
    return block


def count(file: str) -> None:
    """Leave a mark: what was run again is seen even if the worker that ran it is gone."""
    with open(file, "a") as marks:
        marks.write("x")


def marks(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


# ------------------------------------------------------------------- loss


@dataclass(frozen=True)
class Loss:
    """Seconds from a kill until the scheduler knew, and until all data was in memory again."""

    known: float
    back: float


def lose(client: Client, workers: Sequence[str], *kept: da.Array) -> Loss:
    """Kill workers at one time, and wait until every block of `kept` is in memory again."""
    pids, keys = processes(client, workers), [key for x in kept for key in keys_of(x)]
    loss: Loss = client.run_on_scheduler(_lose, pids=pids, keys=keys)
    return loss


async def _lose(dask_scheduler: Any, pids: Mapping[str, int], keys: Sequence[Hashable]) -> Loss:
    began = time.perf_counter()
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    await _until(lambda: not set(pids) & set(dask_scheduler.workers), "the scheduler knows of the loss")
    known = time.perf_counter() - began
    await _until(lambda: _in_memory(dask_scheduler, keys), "all blocks are in memory again")
    return Loss(known, time.perf_counter() - began)


async def _until(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:g} s in vain until {what}")
        await asyncio.sleep(LOOK)


def _in_memory(scheduler: Any, keys: Sequence[Hashable]) -> bool:
    found = [scheduler.tasks.get(key) for key in keys]
    return all(ts is not None and ts.state == "memory" for ts in found)


# ---------------------------------------------------------------- settled


def wait_settled(client: Client, *kept: da.Array, pause: float = PAUSE) -> None:
    """Wait until all is in memory, protected if it is coded, and nothing is on its way.

    Every way is given `pause` seconds at least: in these the memory manager does its work.
    """
    began = time.monotonic()
    client.run_on_scheduler(until_settled, keys=[key for x in kept for key in keys_of(x)], pids=())
    time.sleep(max(0.0, pause - (time.monotonic() - began)))


class Settled(NamedTuple):
    """When all blocks were in memory, when all was settled, and the most bytes that were held till then."""

    there: float
    ended: float
    held: int
    used: int


async def until_settled(dask_scheduler: Any, keys: Sequence[Hashable], pids: Sequence[int]) -> Settled:
    """Return when all is settled, and the most that the workers held and their processes used till then."""
    held = used = 0
    there = None

    def settled() -> bool:
        nonlocal held, used, there
        held = max(held, burden(dask_scheduler)[1])
        used = max(used, resident(pids))
        if not _in_memory(dask_scheduler, keys):
            return False
        there = there or time.perf_counter()
        return _is_quiet(dask_scheduler, keys)

    await _until(settled, "all groups have their parity and nothing is on its way")
    assert there is not None
    return Settled(there, time.perf_counter(), held, used)


def resident(pids: Sequence[int]) -> int:
    """Return the bytes of memory that processes use, all together."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


def _is_quiet(scheduler: Any, keys: Sequence[Hashable]) -> bool:
    if any(ts.state not in ("memory", "released", "forgotten") for ts in scheduler.tasks.values()):
        return False
    plugin = scheduler.plugins.get("dask-coded")
    if plugin is None:
        return True
    vault = plugin.vault
    pieces = [[scheduler.tasks.get(key) for key in group.pieces] for group in vault.shelf.groups.values()]
    return (
        not any(key in vault.shelf.request_of for key in keys)
        and not vault.rebuilding.lent
        and all(_is_apart(scheduler, each) for each in pieces)
    )


def _is_apart(scheduler: Any, pieces: Sequence[Any]) -> bool:
    """Tell whether all pieces of a group are there, once, and as far apart as they can be."""
    if any(ts is None or not ts.who_has or len(ts.who_has) > 1 for ts in pieces):
        return False
    workers = {ws for ts in pieces for ws in ts.who_has}
    return len(workers) == min(len(pieces), len(scheduler.running))


def burden(dask_scheduler: Any) -> tuple[int, int]:
    """Return how many pieces of data the workers hold, copies counted, and their bytes."""
    workers = dask_scheduler.workers.values()
    return sum(len(ws.has_what) for ws in workers), sum(ws.nbytes for ws in workers)
