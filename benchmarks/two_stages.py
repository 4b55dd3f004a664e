"""Two products in a row while a thread of one worker is stuck, beside a cluster without that worker.

The thread runs something else, or something that was cancelled: a task that runs
cannot be stopped, and the scheduler takes the thread of a cancelled one for free.

    python benchmarks/two_stages.py
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count

import harness
import numpy as np
from distributed import Client, Future

import dask_coded as dc
from dask_coded import testing

_fresh = count()


def two_products(
    client: Client, workers: int, unit: float, coded: bool, before: Callable[[], object]
) -> float:
    """Return the seconds that the two products take; 14 blocks each."""
    harness.settle(client, workers)
    token = next(_fresh)
    a, a_here = harness.spread(client, f"a-{token}", (14, 1), (32, 64))
    b, b_here = harness.spread(client, f"b-{token}", (1, 1), (64, 64))
    kept = before()
    with testing.delays(client, testing.Constant(), unit=unit, tasks=harness.is_product):
        with dc.coded(parity=1, force=True) if coded else nullcontext():
            began = time.perf_counter()
            first = (a @ b).compute()
            second = (a @ (b + 1)).compute()
            seconds = time.perf_counter() - began
    del kept
    np.testing.assert_allclose(first, a_here @ b_here)
    np.testing.assert_allclose(second, a_here @ (b_here + 1))
    return seconds


def stuck(client: Client, seconds: float, cancelled: bool) -> Future:
    """Keep a worker's only thread busy for some seconds."""
    future = client.submit(time.sleep, seconds, workers=[harness.addresses(client)[-1]], pure=False)
    time.sleep(0.2)
    if cancelled:
        future.cancel()
        time.sleep(0.1)
    return future


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--unit", type=float, default=1.0, help="seconds of a block product (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each case (default: 5)")
    options = parser.parse_args(argv)
    length = 16 * options.unit
    samples: dict[str, list[float]] = {}
    with harness.cluster(7) as seven, harness.cluster(8) as eight:
        for _ in range(options.rounds):
            for name, coded in (("plain", False), ("coded", True)):
                runs: list[tuple[str, Client, Callable[[], object]]] = [
                    (f"{name}, worker absent", seven, lambda: None),
                    (f"{name}, thread stuck", eight, lambda: stuck(eight, length, False)),
                    (f"{name}, thread stuck and cancelled", eight, lambda: stuck(eight, length, True)),
                ]
                for label, client, before in runs:
                    workers = 7 if client is seven else 8
                    with client.as_current():
                        seconds = two_products(client, workers, options.unit, coded, before)
                    samples.setdefault(label, []).append(seconds)
                    if client is eight:
                        time.sleep(length)  # until the thread is free again
    base = float(np.median(samples["plain, worker absent"]))
    print(f"plain Dask with the worker absent: {base:.2f} s")
    for label, seconds in samples.items():
        print(f"{label:36} median {np.median(seconds) / base:5.2f}   worst {max(seconds) / base:5.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
