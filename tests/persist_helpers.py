"""What the tests of `persist` share: marked sources, waiting until groups are whole, killing workers."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client
from test_faults import assert_nothing_left

import dask_coded as dc
from dask_coded import testing


def source(runs: Any, dtype: str = "float64", blocks: int = 6, rows: int = 500) -> da.Array:
    """Return an array whose every computed block leaves a mark in the file `runs`."""
    sizes = tuple(rows + number for number in range(blocks))

    def make(block_info: Any = None) -> np.ndarray:
        info = block_info[None]
        with open(runs, "a") as file:
            file.write("x")
        rng = np.random.default_rng(info["chunk-location"][0])
        size = int(np.prod(info["chunk-shape"])) * np.dtype(dtype).itemsize
        values = rng.integers(0, 2 if dtype == "bool" else 256, size, dtype=np.uint8)
        return values.view(dtype).reshape(info["chunk-shape"])

    return da.map_blocks(make, chunks=(sizes,), dtype=np.dtype(dtype), meta=np.empty(0, dtype))


def decoded(client: Client, x: Any, compute: Callable[[], Any]) -> Any:
    """Return a result that took a decode: one holder of `x` after the other is slow, until one does.

    Dask may read a slow worker's block where another operand is, which is then no late piece.
    """
    before = dc.report(client).to_dict()["decoded"]
    for worker in holders(client, x):
        with testing.slow(client, worker, factor=10), dask.config.set({"coded.launch": "eager"}):
            found = compute()
        if dc.report(client).to_dict()["decoded"] > before:
            return found
    raise AssertionError(f"nothing was decoded: {dc.report(client)}")


def holders(client: Client, x: Any) -> list[str]:
    """Return the workers that hold blocks of `x`, the one with most blocks that no other worker has first."""
    held = client.who_has(x).values()
    alone = Counter(workers[0] for workers in held if len(workers) == 1)
    return sorted({worker for workers in held for worker in workers}, key=lambda w: (-alone[w], w))


def until(done: Callable[[], Any], seconds: float = 120.0, state: Callable[[], Any] = lambda: None) -> Any:
    """Return what `done` returns once that is true; show `state` if it takes too long."""
    deadline = time.monotonic() + seconds
    while not (answer := done()):
        assert time.monotonic() < deadline, state()
        time.sleep(0.05)
    return answer


def pieces(dask_scheduler: Any) -> dict[str, dict[Any, list[str]]]:
    """Return for each group the workers that hold each of its pieces."""

    def where(key: Any) -> list[str]:
        ts = dask_scheduler.tasks.get(key)
        return sorted(ws.address for ws in ts.who_has or ()) if ts is not None else []

    groups = dask_scheduler.plugins["dask-coded"].vault.shelf.groups
    return {name: {key: where(key) for key in group.pieces} for name, group in groups.items()}


def unsettled(dask_scheduler: Any) -> dict[str, Any]:
    """Return what keeps the groups from being whole, in single copies, on workers of their own."""
    vault = dask_scheduler.plugins["dask-coded"].vault
    running = len(dask_scheduler.running)
    groups = pieces(dask_scheduler)
    wrong = {
        name: where
        for name, where in groups.items()
        if any(len(held) != 1 for held in where.values())
        or len({worker for held in where.values() for worker in held}) < min(len(where), running)
    }
    resting = "memory", "released", "forgotten"
    busy = {str(ts.key): ts.state for ts in dask_scheduler.tasks.values() if ts.state not in resting}
    asked, lent = list(vault.shelf.request_of), list(vault.rebuilding.lent)
    held_back = [ws.address for ws in dask_scheduler.workers.values() if ws not in dask_scheduler.running]
    found = {"wrong": wrong, "busy": busy, "asked": asked, "lent": lent, "held back": held_back}
    moves = vault.spreading.moves
    return {**found, "moves": moves, "groups": len(groups)} if any(found.values()) else {}


def apart(dask_scheduler: Any) -> bool:
    """Tell whether each piece is on a worker of its own: no loss of one worker takes two of a group."""
    held = [
        [worker for where in group.values() for worker in where] for group in pieces(dask_scheduler).values()
    ]
    return all(len(workers) == len(set(workers)) for workers in held)


def settled(client: Client, groups: int = 1) -> None:
    """Wait until every group has all its parity in memory, and no copies are left."""

    def is_settled(dask_scheduler: Any) -> bool:
        return len(pieces(dask_scheduler)) >= groups and not unsettled(dask_scheduler)

    until(lambda: client.run_on_scheduler(is_settled), state=lambda: client.run_on_scheduler(unsettled))


def pids_of(client: Client, workers: Iterable[str]) -> dict[str, int]:
    return client.run(os.getpid, workers=list(workers))


def kill(client: Client, *workers: str) -> None:
    """Kill workers at one time, and wait until the scheduler knows."""
    for pid in pids_of(client, workers).values():
        os.kill(pid, signal.SIGKILL)
    until_gone(client, *workers)


def until_gone(client: Client, *workers: str) -> None:
    until(lambda: not set(workers) & set(client.nthreads()), 60)


def same_bytes(x: da.Array, expected: np.ndarray) -> None:
    found = x.compute()
    assert found.dtype == expected.dtype and found.tobytes() == expected.tobytes()


def assert_all_freed(client: Client) -> None:
    """Wait until tasks, data and all that the vault keeps in its books are gone."""

    def kept(dask_scheduler: Any) -> dict[str, Any]:
        vault = dask_scheduler.plugins["dask-coded"].vault
        books = {
            "asked": vault.shelf.request_of,
            "groups": vault.shelf.groups,
            "pieces": vault.shelf.groups_of,
            "scattered": vault.shelf.scattered,
            "encoding": vault.encoding.awaited,
            "lent": vault.rebuilding.lent,
            "restricted": vault.restricted,
            "frozen": vault.watching.frozen,
        }
        return {name: list(book) for name, book in books.items() if book}

    assert_nothing_left(client)
    until(lambda: not client.run_on_scheduler(kept), 60, lambda: client.run_on_scheduler(kept))
