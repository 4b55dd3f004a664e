"""What the benchmarks on clusters share: workers, timed runs under a fault, and what moved meanwhile."""

from __future__ import annotations

import logging
import platform
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from threading import Timer
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, Worker, wait

from dask_coded import testing

#: A fault is a context manager around a run; it gets the fault-free seconds of such a run.
Fault = Callable[[Client, float], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Run:
    """One timed run."""

    seconds: float
    draws: list[testing.Draw] = field(default_factory=list)
    moved: int = 0


def is_product(name: str) -> bool:
    """Tell the block products from what is around them."""
    return name.startswith(("matmul", "piece", "parity"))


def machine() -> dict[str, str]:
    """Return what the figures were measured on."""
    names = ("dask", "distributed", "numpy")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{n: version(n) for n in names},
    }


@contextmanager
def cluster(workers: int) -> Iterator[Client]:
    """Start worker processes of one thread each, and a client; nothing of them is logged."""
    settings = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    config = {
        # Many processes on few cores: starting takes its time.
        "distributed.comm.timeouts.connect": "60s",
        "distributed.admin.tick.limit": "1h",
        # Dask gives a worker up for good that is away again so long after it was lost.
        "distributed.deploy.lost-worker-timeout": "1h",
        # Operands that were replicated stay so until the run begins.
        "distributed.scheduler.active-memory-manager.start": False,
    }
    with (
        dask.config.set(config),
        LocalCluster(n_workers=workers, **settings) as local,
        Client(local) as client,
    ):
        client.wait_for_workers(workers)
        yield client


def addresses(client: Client) -> list[str]:
    """Return the addresses of all workers."""
    return sorted(client.nthreads())


def settle(client: Client, workers: int, seconds: float = 60.0) -> None:
    """Wait until the cluster is whole and idle again and holds nothing."""
    client.wait_for_workers(workers, timeout=seconds)
    deadline = time.monotonic() + seconds
    while client.run_on_scheduler(_unfinished) and time.monotonic() < deadline:
        time.sleep(0.02)


def _unfinished(dask_scheduler: Any) -> int:
    workers = dask_scheduler.workers.values()
    busy = sum(bool(ws.processing or ws.has_what or ws.status.name != "running") for ws in workers)
    return busy + len(dask_scheduler.tasks)


def moved_bytes(client: Client) -> int:
    """Return how many bytes the workers that are alive received from each other so far."""

    def read(dask_worker: Worker) -> int:
        return sum(entry["total"] for entry in dask_worker.transfer_incoming_log)

    return sum(client.run(read).values())


@contextmanager
def after(seconds: float, act: Callable[..., Any], *arguments: Any) -> Iterator[None]:
    """Call `act` in the middle of a run."""
    timer = Timer(seconds, act, arguments)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def frozen_half_way(client: Client, seconds: float) -> Iterator[None]:
    """Stop a worker in the middle of a run until the run has ended."""
    with ExitStack() as stack:
        freeze = testing.freeze(client, addresses(client)[-1])
        with after(seconds / 2, stack.enter_context, freeze):
            yield


def none(client: Client, seconds: float) -> AbstractContextManager[Any]:
    """No fault."""
    return nullcontext()


def slow(client: Client, seconds: float) -> AbstractContextManager[Any]:
    """One worker is ten times slower all along."""
    return testing.slow(client, addresses(client)[-1], factor=10)


def killed_half_way(client: Client, seconds: float) -> AbstractContextManager[Any]:
    """One worker is killed in the middle of a run."""
    return after(seconds / 2, testing.kill, client, addresses(client)[-1])


def timed(
    client: Client,
    job: Callable[[], Any],
    fault: AbstractContextManager[Any],
    delays: AbstractContextManager[testing.Delays],
) -> Run:
    """Run `job` under a fault and with delayed tasks, and measure it."""
    before = moved_bytes(client)
    with delays as drawn:
        with fault:
            began = time.perf_counter()
            job()
            seconds = time.perf_counter() - began
        draws = drawn.drawn()
    return Run(seconds, draws, max(0, moved_bytes(client) - before))


def normal(shape: tuple[int, int], *seed: int) -> np.ndarray:
    """Return random numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def spread(
    client: Client, name: str, blocks: tuple[int, int], shape: tuple[int, int]
) -> tuple[da.Array, np.ndarray]:
    """Return a random array whose blocks lie on the workers in turn, and the same array here.

    Left to Dask, some workers would get two blocks and others none. A lost block is made again.
    """
    workers = addresses(client)
    futures, here = {}, np.empty(np.multiply(blocks, shape))
    for number, (i, j) in enumerate(np.ndindex(*blocks)):
        place = {"workers": [workers[number % len(workers)]], "allow_other_workers": True}
        seed = (zlib.crc32(name.encode()), number)
        futures[name, i, j] = client.submit(normal, shape, *seed, key=(name, i, j), **place)
        here[i * shape[0] : (i + 1) * shape[0], j * shape[1] : (j + 1) * shape[1]] = normal(shape, *seed)
    wait(list(futures.values()))
    chunks = tuple((n,) * count for n, count in zip(shape, blocks, strict=True))
    return da.Array(futures, name, chunks, dtype=np.float64), here
