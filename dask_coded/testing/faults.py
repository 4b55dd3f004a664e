"""Faults of whole worker processes: slowed, frozen, killed."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

import psutil
from distributed import Client

__all__ = ["freeze", "kill", "slow"]

#: Seconds in which a slowed process is let run once and stopped once.
PERIOD = 0.2


def _identity() -> tuple[str, int, float]:
    return socket.gethostname(), os.getpid(), psutil.Process().create_time()


def _process(client: Client, worker: str) -> psutil.Process:
    """Return the worker's process; it must run on this machine, in a process of its own."""
    if getattr(client, "asynchronous", False):
        raise TypeError("client is asynchronous; give a synchronous distributed.Client")
    known = client.nthreads()  # not scheduler_info(), which another answer may overtake, without workers
    if worker not in known:
        raise ValueError(f"worker={worker!r} is not in the cluster; choose from {', '.join(sorted(known))}")
    host, pid, created = client.run(_identity, workers=[worker])[worker]
    if host != socket.gethostname():
        raise ValueError(f"worker={worker!r} runs on {host}; its process can be reached from there only")
    if pid == os.getpid():
        raise ValueError(f"worker={worker!r} runs in this process; start the cluster with processes=True")
    process = psutil.Process(pid)
    if abs(process.create_time() - created) > 1.0:
        raise ValueError(f"worker={worker!r} has another process table; call this where its process lives")
    return process


@contextmanager
def freeze(client: Client, worker: str) -> Iterator[None]:
    """Stop a worker's process as SIGSTOP does, and let it go on in the end.

    The worker keeps its connections and answers nothing, as behind a cut cable
    or in a machine that swaps. Dask notices after `distributed.scheduler.worker-ttl`.

    Parameters
    ----------
    client : distributed.Client
        A synchronous client of the cluster.
    worker : str
        The worker's address; its process must be on this machine.

    Raises
    ------
    ValueError
        There is no such worker, or its process cannot be reached from here.
    """
    process = _process(client, worker)
    process.suspend()
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


@contextmanager
def slow(client: Client, worker: str, factor: float = 10.0) -> Iterator[None]:
    """Let a worker's process run only a part of the time: it computes and answers `factor` times slower.

    The process is stopped and continued several times a second. Time that its
    tasks spend asleep is slowed only if `delays` makes them sleep.

    Parameters
    ----------
    client : distributed.Client
        A synchronous client of the cluster.
    worker : str
        The worker's address; its process must be on this machine.
    factor : float
        At least 1.

    Raises
    ------
    ValueError
        There is no such worker, its process cannot be reached from here, or the
        factor is out of range.
    """
    if not factor >= 1:
        raise ValueError(f"factor={factor!r} is not valid; give a number of at least 1")
    process = _process(client, worker)
    ended = threading.Event()
    brake = threading.Thread(
        target=_brake, args=(process, factor, ended), name="dask-coded-slow", daemon=True
    )
    brake.start()
    try:
        yield
    finally:
        ended.set()
        brake.join()


def _brake(process: psutil.Process, factor: float, ended: threading.Event) -> None:
    with suppress(psutil.NoSuchProcess):
        try:
            while not ended.is_set():
                began = monotonic()
                ended.wait(PERIOD / factor)
                process.suspend()
                ran = monotonic() - began
                ended.wait(ran * (factor - 1.0))
                process.resume()
        finally:
            process.resume()


def kill(client: Client, worker: str) -> None:
    """End a worker's process at once, as SIGKILL or the kernel's memory killer does.

    A nanny starts a new worker in its place. To do so half-way through a
    computation, call it from a `threading.Timer` or after `client.compute`.

    Parameters
    ----------
    client : distributed.Client
        A synchronous client of the cluster.
    worker : str
        The worker's address; its process must be on this machine.

    Raises
    ------
    ValueError
        There is no such worker, or its process cannot be reached from here.
    """
    _process(client, worker).kill()
