"""Iterations on one matrix with a worker that is slow, frozen or killed: plain Dask beside an encoded matrix.

``gradient``: w <- w - step * X.T @ (X @ w - y), least squares; the product over the rows of
X has no parity of its own. ``grid``: the same, with blocks and parity along both axes, so
that both products are coded. ``products``: v <- X @ v with a square X, coded throughout.
The fault begins after a quarter of the iterations. Ratios are those of whole runs to
the median fault-free run of plain Dask; encoding is timed by itself.

    python benchmarks/iterations.py
    python benchmarks/iterations.py --cases gradient --faults slow,frozen --unit 0.5 --rounds 3
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import count
from typing import Any

import dask
import harness
import numpy as np
from distributed import Client, wait

import dask_coded as dc
from dask_coded import testing

_fresh = count()


def gradient(x: Any, v: np.ndarray) -> np.ndarray:
    return v - 1e-3 * np.asarray(x.T @ (x @ v - 1.0))


def products(x: Any, v: np.ndarray) -> np.ndarray:
    w = np.asarray(x @ v)
    return w / np.linalg.norm(w)


def is_product(name: str) -> bool:
    """Tell the block products by the names that they have after fusion, in either graph."""
    return name == "chunk_sum" or name.startswith(("matmul", "piece-matmul", "parity-matmul"))


def is_part(name: str) -> bool:
    """Tell the block products whose results are added over another axis of blocks."""
    return name in ("chunk_sum", "piece-chunk-sum", "parity-chunk-sum")


#: name -> a step, whether the matrix is square, and its coded axes
CASES: dict[str, tuple[Callable[[Any, np.ndarray], np.ndarray], bool, tuple[int, ...]]] = {
    "gradient": (gradient, False, (0,)),
    "grid": (gradient, False, (0, 1)),
    "products": (products, True, (0,)),
}


@contextmanager
def killed(client: Client) -> Iterator[None]:
    testing.kill(client, harness.addresses(client)[0])
    yield


#: How an array is computed with, and when its parity is.
KINDS = {"plain": "late", "encoded": "late", "adaptive": "adaptive"}


@contextmanager
def uneven(client: Client) -> Iterator[None]:
    """Let two workers take twice the time."""
    first, second, *_ = harness.addresses(client)
    with testing.slow(client, first, factor=2), testing.slow(client, second, factor=2):
        yield


FAULTS: dict[str, Callable[[Client], AbstractContextManager[object]]] = {
    "none": lambda client: nullcontext(),
    "slow": lambda client: testing.slow(client, harness.addresses(client)[0], factor=10),
    "slower": lambda client: testing.slow(client, harness.addresses(client)[0], factor=3),
    "uneven": uneven,
    "frozen": lambda client: testing.freeze(client, harness.addresses(client)[0]),
    "killed": killed,
}


def run(
    client: Client, case: str, fault: str, kind: str, options: argparse.Namespace
) -> tuple[float, float, float, int]:
    """Return seconds of all iterations, seconds of encoding, the largest error, and products computed."""
    harness.settle(client, options.workers)
    step, square, axes = CASES[case]
    blocks = (options.workers - 1) * options.waves
    columns = options.workers - 1 if len(axes) > 1 else 1
    width = 16 * blocks if square else 20 * columns
    x, here = harness.spread(client, f"x-{next(_fresh)}", (blocks, columns), (16, width // columns))
    began = time.perf_counter()
    if kind != "plain":
        x = dc.encode(x, axis=axes, parity=1).persist()
        wait(x)
        while dc.report(client).to_dict()["redundancy"] < 1:
            time.sleep(0.02)
    encoding = time.perf_counter() - began
    v = expected = np.ones((width, 1))
    tasks = is_part if columns > 1 else is_product
    with testing.delays(client, testing.Constant(), unit=options.unit, tasks=tasks) as delays:
        with dask.config.set({"coded.launch": KINDS[kind]}), ExitStack() as stack:
            began = time.perf_counter()
            for number in range(options.steps):
                if number == options.steps // 4:
                    stack.enter_context(FAULTS[fault](client))
                v = step(x, v)
            seconds = time.perf_counter() - began
        products_run = len(delays.drawn())
    for _ in range(options.steps):
        expected = step(here, expected)
    return seconds, encoding, float(abs(v - expected).max() / abs(expected).max()), products_run


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default=",".join(CASES), help=f"some of {','.join(CASES)}")
    parser.add_argument("--faults", default=",".join(FAULTS), help=f"some of {','.join(FAULTS)}")
    parser.add_argument(
        "--kinds",
        default="plain,encoded",
        help="plain, and some of encoded, adaptive (default: plain,encoded)",
    )
    parser.add_argument("--workers", type=int, default=5, help="worker processes of one thread (default: 5)")
    parser.add_argument("--waves", type=int, default=1, help="blocks of a worker (default: 1)")
    parser.add_argument("--steps", type=int, default=20, help="iterations of a run (default: 20)")
    parser.add_argument("--unit", type=float, default=0.5, help="seconds of a block product (default: 0.5)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind (default: 3)")
    options = parser.parse_args(argv)
    for name, known in (("cases", CASES), ("faults", FAULTS), ("kinds", KINDS)):
        wanted = getattr(options, name).split(",")
        if unknown := [one for one in wanted if one not in known]:
            parser.error(f"--{name}: unknown {', '.join(unknown)}; choose from {', '.join(known)}")
        setattr(options, name, wanted)
    if "plain" not in options.kinds:
        parser.error("--kinds: plain is what ratios are to; leave it in")
    if options.workers < 4 or min(options.waves, options.steps, options.rounds) < 1 or not options.unit >= 0:
        parser.error(
            "--workers must be at least 4, --waves, --steps and --rounds at least 1, --unit at least 0"
        )
    return options


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    with harness.cluster(options.workers) as client:
        dc.install(client)
        for case in options.cases:
            samples: dict[tuple[str, str], list[tuple[float, float, float, int]]] = {}
            for _ in range(options.rounds):
                for fault in dict.fromkeys(["none", *options.faults]):
                    for name in options.kinds:
                        # Plain Dask waits minutes for a frozen worker.
                        if (name, fault) != ("plain", "frozen"):
                            found = run(client, case, fault, name, options)
                            samples.setdefault((fault, name), []).append(found)
            base = float(np.median([seconds for seconds, _, _, _ in samples["none", "plain"]]))
            encoding = np.median([seconds for _, seconds, _, _ in samples["none", options.kinds[-1]]])
            print(f"{case}: {options.steps} plain iterations take {base:.2f} s, encoding {encoding:.2f} s")
            for (fault, name), runs in samples.items():
                ratios = [seconds / base for seconds, _, _, _ in runs]
                error = max(error for _, _, error, _ in runs)
                print(
                    f"  {fault:8}{name:9} median {np.median(ratios):5.2f}   worst {max(ratios):5.2f}   "
                    f"error {error:.0e}   block products {np.mean([run[3] for run in runs]):.0f}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
