"""Train a classifier while a worker is slow, frozen or killed: plain Dask beside an encoded matrix.

Logistic regression of the handwritten digits that come with scikit-learn (below five, or
not) by L-BFGS. Every evaluation reads the whole matrix twice: `X @ w`, then `X.T @ residual`.

    python examples/logistic_regression.py
    python examples/logistic_regression.py --fault frozen --seconds 0.5
"""

from __future__ import annotations

import argparse
import logging
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from scipy.optimize import minimize
from sklearn.datasets import load_digits

import dask_coded as dc
from dask_coded import testing

RIDGE = 1e-2


def fault(client: Client, name: str) -> AbstractContextManager[object]:
    worker = sorted(client.scheduler_info(n_workers=-1)["workers"])[-1]
    if name == "slow":
        return testing.slow(client, worker, factor=10)
    if name == "frozen":
        return testing.freeze(client, worker)
    if name == "killed":
        testing.kill(client, worker)
    return nullcontext()


def is_product(task: str) -> bool:
    return "matmul" in task  # "piece-matmul" and "parity-matmul" too


def train(
    X: da.Array, y: np.ndarray, client: Client, name: str, steps: int
) -> tuple[np.ndarray, list[float]]:
    """Return the weights and the seconds of each iteration; the fault begins after a quarter of them."""
    labels = da.from_array(y, chunks=(X.chunks[0],))
    began, seconds = time.perf_counter(), []

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = X @ w
        residual = 1 / (1 + da.exp(-margin)) - labels
        value = (da.logaddexp(0, margin) - labels * margin).mean()
        found, gradient = da.compute(value, X.T @ residual)
        return found + RIDGE / 2 * w @ w, gradient / len(y) + RIDGE * w

    with ExitStack() as stack:

        def each(_: np.ndarray) -> None:
            nonlocal began
            seconds.append(time.perf_counter() - began)
            if len(seconds) == max(1, steps // 4):
                stack.enter_context(fault(client, name))
            began = time.perf_counter()

        options = {"maxiter": steps, "ftol": 0, "gtol": 1e-12}
        found = minimize(
            loss, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B", callback=each, options=options
        )
    return found.x, seconds


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fault", choices=["none", "slow", "frozen", "killed"], default="slow")
    parser.add_argument("--steps", type=int, default=20, help="iterations (default: 20)")
    parser.add_argument("--seconds", type=float, default=0.1, help="each block product takes (default: 0.1)")
    parser.add_argument("--blocks", type=int, default=5, help="of the matrix; one worker more (default: 5)")
    options = parser.parse_args(argv)
    if options.steps < 1 or options.seconds < 0 or options.blocks < 2:
        parser.error("--steps must be at least 1, --seconds at least 0, --blocks at least 2")
    images, digits = load_digits(return_X_y=True)
    y = (digits < 5).astype(float)
    X = da.from_array(images / 16, chunks=(-(-len(images) // options.blocks), -1))
    weights = []
    for name in ("plain", "encoded"):
        settings = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
        with LocalCluster(n_workers=options.blocks + 1, **settings) as local, Client(local) as client:
            matrix = (X if name == "plain" else dc.encode(X, axis=0, parity=1)).persist()
            wait(matrix)
            # Plain Dask waits for a frozen worker until it is declared dead after minutes: not here.
            kind = "slow" if (name, options.fault) == ("plain", "frozen") else options.fault
            with testing.delays(client, testing.Constant(), unit=options.seconds, tasks=is_product):
                w, seconds = train(matrix, y, client, kind, options.steps)
            weights.append(w)
            quarter = max(1, options.steps // 4)
            before, after = np.median(seconds[:quarter]), np.mean(seconds[quarter:] or [0.0])
            print(f"{name:8} {kind:7} an iteration: {before:.2f} s, then {after:.2f} s", flush=True)
    right = ((images / 16 @ weights[1] > 0) == y).mean()
    print(f"{right:.1%} of the digits right; weights differ by {abs(weights[0] - weights[1]).max():.1e}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
