"""A power iteration that loses a worker: computed again from the start, or rebuilt from parity.

Every step is persisted, as one does to look at the convergence. A worker that is lost
then holds blocks of the matrix and of the last iterate: plain Dask computes them again,
and with them every step since the beginning. `dask_coded.persist` rebuilds them.

    python examples/survive_worker_loss.py
    python examples/survive_worker_loss.py --steps 30 --workers 8
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from functools import partial
from time import perf_counter, sleep
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

import dask_coded as dc
from dask_coded import testing

#: Seconds that each block product sleeps, as if it were larger.
PAUSE = 0.1

Persist = Callable[[da.Array], Any]


def plain(x: da.Array) -> da.Array:
    (persisted,) = dask.persist(x)
    return persisted


def matrix(workers: int) -> da.Array:
    """Return a symmetric matrix with a block of rows for each worker but one."""
    rows = 200 * (workers - 1)
    noise = da.random.default_rng(0).normal(size=(rows, rows), chunks=(200, rows))
    return (noise + noise.T) / rows + da.eye(rows, chunks=200).rechunk((200, rows))


def step(a: da.Array, v: da.Array, persist: Persist) -> da.Array:
    w = (a @ v).rechunk((200, 1))
    v = persist(w / da.sqrt((w * w).sum()))
    wait(v)
    return v


def run(client: Client, workers: int, steps: int, persist: Persist) -> tuple[float, float, np.ndarray]:
    """Return the seconds of a step, those of the first step after the loss, and the iterate."""
    a = persist(matrix(workers))
    wait(a)
    v = persist(da.ones((a.shape[0], 1), chunks=(200, 1)))
    with testing.delays(client, testing.Constant(), unit=PAUSE, tasks=lambda name: "matmul" in name):
        began = perf_counter()
        for _ in range(steps):
            v = step(a, v, persist)
        usual = (perf_counter() - began) / steps
        while persist is not plain and dc.report(client).to_dict()["kept_unprotected"]:
            sleep(0.05)  # parity of the last step is on its way
        testing.kill(client, next(worker for workers in client.who_has(v).values() for worker in workers))
        began = perf_counter()
        v = step(a, v, persist)
        return usual, perf_counter() - began, v.compute()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=6, help="worker processes, at least 3 (default: 6)")
    parser.add_argument("--steps", type=int, default=15, help="steps before the loss (default: 15)")
    options = parser.parse_args(argv)
    if options.workers < 3 or options.steps < 1:
        parser.error(f"--workers {options.workers} --steps {options.steps}: give at least 3 and 1")
    iterates = []
    print(f"{'':12}{'a step':>10}{'after a loss':>14}{'in steps':>10}")
    for name, persist in (("plain", plain), ("dask_coded", partial(dc.persist, parity=1))):
        settings = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
        with LocalCluster(n_workers=options.workers, **settings) as local, Client(local) as client:
            usual, after, v = run(client, options.workers, options.steps, persist)
            iterates.append(v)
            print(f"{name:12}{usual:8.2f} s{after:12.2f} s{after / usual:10.1f}", flush=True)
            if persist is not plain:
                figures = dc.report(client).to_dict()
                print(f"{figures['rebuilt']} blocks rebuilt, {figures['recomputed']} computed again")
    print(f"largest difference of the iterates: {abs(iterates[0] - iterates[1]).max():.1e}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
