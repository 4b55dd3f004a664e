"""What the examples of encoded matrices share: an algorithm on plain Dask, then on an encoded matrix.

There is one worker more than the matrix has blocks. After a quarter of the iterations one
worker's process is slowed ten times, stopped or killed. Products of blocks sleep for
`--seconds` besides, so that several workers fit on a small machine.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

import dask_coded as dc
from dask_coded import testing

FAULTS = ("none", "slow", "frozen", "killed")

#: What an example calls after each iteration.
Callback = Callable[..., None]


def inflict(client: Client, matrix: da.Array, fault: str) -> AbstractContextManager[object]:
    """Let a worker that holds a block of the matrix fail."""
    worker = next(worker for workers in client.who_has(matrix).values() for worker in workers)
    if fault == "slow":
        return testing.slow(client, worker, factor=10)
    if fault == "frozen":
        return testing.freeze(client, worker)
    if fault == "killed":
        testing.kill(client, worker)
    return nullcontext()


def is_product(task: str) -> bool:
    """Tell products of blocks by the names that Dask gives them, coded or not, alone or with their sum."""
    return "matmul" in task or task == "chunk_sum"


def run(
    client: Client, algorithm: Callable[..., np.ndarray], arrays: Sequence[da.Array], steps: int, fault: str
) -> tuple[np.ndarray, list[float]]:
    """Return the result and the seconds of each iteration; the fault begins after a quarter of them."""
    began, seconds = time.perf_counter(), []

    def callback(*_: Any) -> None:
        nonlocal began
        seconds.append(time.perf_counter() - began)
        if len(seconds) == quarter(steps):
            stack.enter_context(inflict(client, arrays[0], fault))
        began = time.perf_counter()

    with ExitStack() as stack:
        result = algorithm(*arrays, steps, callback)
    return result, seconds


def quarter(steps: int) -> int:
    return max(1, steps // 4)


def compare(
    client: Client,
    algorithm: Callable[..., np.ndarray],
    numbers: Sequence[np.ndarray],
    expected: dict[str, np.ndarray],
    fault: str,
    options: argparse.Namespace,
    is_product: Callable[[str], bool] = is_product,
) -> Iterator[dict[str, float]]:
    """Run the algorithm on plain Dask, then on an encoded matrix, and print a row of the table for each.

    Yields the relative differences from each array that is expected.
    """
    rows = -(-len(numbers[0]) // options.blocks)
    for name in ("plain", "encoded"):
        client.wait_for_workers(options.blocks + 1)
        X, *others = (da.from_array(array, chunks=(rows, *array.shape[1:])) for array in numbers)
        X = (X if name == "plain" else dc.encode(X, axis=0, parity=1)).persist()
        wait(X)
        # Plain Dask waits for a frozen worker until it is declared dead after minutes: not here.
        suffered = "none" if (name, fault) == ("plain", "frozen") else fault
        with testing.delays(client, testing.Constant(), unit=options.seconds, tasks=is_product):
            result, seconds = run(client, algorithm, (X, *others), options.steps, suffered)
        before = np.median(seconds[: quarter(options.steps)])
        after = np.mean(seconds[quarter(options.steps) :] or [0.0])
        found = {name: relative_difference(result, right) for name, right in expected.items()}
        print(
            f"{name:9}{suffered:8}{before:6.2f} s{after:8.2f} s{sum(seconds):8.1f} s"
            + "".join(f"{value:>{len(name) + 3}.0e}" for name, value in found.items()),
            flush=True,
        )
        yield found


def relative_difference(found: np.ndarray, right: np.ndarray) -> float:
    return float(np.linalg.norm(found - right) / np.linalg.norm(right))


def main(
    description: str | None,
    algorithm: Callable[..., np.ndarray],
    data: Callable[[], Sequence[np.ndarray]],
    references: Callable[..., dict[str, np.ndarray]],
    is_product: Callable[[str], bool] = is_product,
    argv: list[str] | None = None,
) -> int:
    """Run an example from the command line.

    Parameters
    ----------
    description : str
        The example's docstring.
    algorithm : callable
        Takes the arrays in blocks of rows, the number of iterations and a callback.
    data : callable
        Returns the arrays; the first is the one to encode.
    references : callable
        Takes the arrays and the number of iterations, and returns what to compare with, by name.
    is_product : callable
        Tells by a task's name whether it takes `--seconds`.
    argv : list of str
        The command line.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fault", choices=(*FAULTS, "all"), default="slow")
    parser.add_argument("--steps", type=int, default=20, help="iterations (default: 20)")
    parser.add_argument("--seconds", type=float, default=0.1, help="each block product takes (default: 0.1)")
    parser.add_argument("--blocks", type=int, default=5, help="of the matrix; one worker more (default: 5)")
    options = parser.parse_args(argv)
    if options.steps < 1 or not options.seconds >= 0 or options.blocks < 2:
        parser.error("--steps must be at least 1, --seconds at least 0, --blocks at least 2")
    numbers = data()
    expected = references(*numbers, options.steps)
    print(f"{options.steps} iterations: seconds of one before and after the fault; relative differences")
    print(f"{'':9}{'fault':8}{'before':>8}{'after':>10}{'all':>10}   {'   '.join(expected)}")
    settings = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    # Sums in one step: in a tree of them, products are joined with sums in other ways when coded.
    # And a worker that is killed twice comes back twice.
    config = {"split_every": options.blocks, "distributed.deploy.lost-worker-timeout": "1h"}
    with dask.config.set(config):
        with LocalCluster(n_workers=options.blocks + 1, **settings) as local, Client(local) as client:
            for fault in FAULTS if options.fault == "all" else (options.fault,):
                for _ in compare(client, algorithm, numbers, expected, fault, options, is_product):
                    pass
    return 0
