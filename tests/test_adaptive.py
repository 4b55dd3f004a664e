"""Shares that follow speed, on real workers that are slowed and killed meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, wait
from persist_helpers import assert_all_freed, kill, settled

import dask_coded as dc
from dask_coded import testing

WORKERS = 5
BLOCKS, ROWS, COLUMNS = 40, 10, 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(BLOCKS * ROWS, COLUMNS))
W = RNG.normal(size=(COLUMNS, 3))


def is_product(name: str) -> bool:
    return "matmul" in name


@pytest.fixture
def adaptive() -> Iterator[None]:
    """Let shares follow speed."""
    with dask.config.set({"coded.launch": "adaptive"}):
        yield


def spread(client: Client, numbers: np.ndarray = X) -> da.Array:
    """Return an encoded array with as many blocks on each worker, groups whole."""
    workers = sorted(client.nthreads())
    keys = {("x", i, 0): numbers[i * ROWS : (i + 1) * ROWS] for i in range(BLOCKS)}
    futures = {
        key: client.submit(
            np.array, part, key=key, workers=[workers[key[1] % WORKERS]], allow_other_workers=True
        )
        for key, part in keys.items()
    }
    wait(list(futures.values()))
    plain = da.Array(futures, "x", ((ROWS,) * BLOCKS, (COLUMNS,)), dtype=numbers.dtype)
    x = dc.encode(plain, parity=1).persist()
    wait(x)
    settled(client, BLOCKS // (WORKERS - 1))
    return x


def blocks_of(client: Client, x: Any) -> Counter[str]:
    return Counter(worker for workers in client.who_has(x).values() for worker in workers)


def products(client: Client, x: Any, delays: testing.Delays, steps: int) -> Counter[str]:
    """Multiply a few times, check each result; return how many products each worker computed."""
    before = len(delays.drawn())
    for step in range(steps):
        w = W * (1 + step + time.monotonic() % 1)
        assert np.allclose((x @ w).compute(), X @ w, rtol=1e-10)
    return Counter(draw.worker for draw in delays.drawn()[before:])


def test_slow_workers_compute_less_and_no_block_moves(cluster: Callable[..., Client], adaptive: None) -> None:
    with dask.config.set({"distributed.scheduler.work-stealing": False}):
        client = cluster(WORKERS)
    dc.install(client)
    x = spread(client)
    held = blocks_of(client, x)
    workers = sorted(held)
    with testing.delays(client, testing.Constant(), unit=0.08, tasks=is_product) as delays:
        products(client, x, delays, 1)
        assert dc.report(client).to_dict()["omitted"] == 0
        with testing.slow(client, workers[0], factor=2), testing.slow(client, workers[1], factor=2):
            products(client, x, delays, 2)
            shares = products(client, x, delays, 2)
        figures = dc.report(client).to_dict()
        slow, fast = shares[workers[0]] + shares[workers[1]], sum(shares[w] for w in workers[2:])
        # Of 40 products, 10 at half speed and 30 at full speed would be even; the blocks lie 16 to 24.
        assert slow / 2 <= 0.8 * (held[workers[0]] + held[workers[1]]), (shares, held)
        assert fast / 2 >= 26, (shares, held)
        products(client, x, delays, 3)
        before = dc.report(client).to_dict()["omitted"]
        products(client, x, delays, 1)
        assert dc.report(client).to_dict()["omitted"] == before, "trusted again"
    assert figures["omitted"] >= 6 and figures["decoded"] >= 6
    assert figures["errors"] == figures["recomputed"] == figures["refused"] == 0, str(figures)
    # Dask itself brings a block to the other operand where that worker has less to do.
    assert (blocks_of(client, x) - held).total() <= figures["omitted"] / 2
    del x
    assert_all_freed(client)


@pytest.mark.parametrize("which", [-1, pytest.param(0, marks=pytest.mark.slow)], ids=["ahead", "behind"])
def test_a_worker_is_killed_while_shares_are_uneven(shared: Client, adaptive: None, which: int) -> None:
    client = shared
    x = spread(client)
    workers = sorted(client.nthreads())
    with testing.delays(client, testing.Constant(), unit=0.08, tasks=is_product) as delays:
        with ExitStack() as stack:
            stack.enter_context(testing.slow(client, workers[0], factor=2))
            products(client, x, delays, 3)
            assert dc.report(client).to_dict()["omitted"] >= 1
            w = W * 7
            future = client.compute(x @ w)
            time.sleep(0.2)
            kill(client, workers[which])
            assert np.allclose(future.result(timeout=120), X @ w, rtol=1e-10)
        products(client, x, delays, 2)
    assert dc.report(client).to_dict()["errors"] == 0
    del x, future
    assert_all_freed(client)


def test_parity_that_fails_harms_nobody(shared: Client, adaptive: None) -> None:
    """Sums of blocks are no blocks: a function may not stand them."""

    def picky(block: np.ndarray) -> np.ndarray:
        if block.size and abs(block).max() != 1.5:
            raise RuntimeError("not a block")
        time.sleep(0.05)
        return 2.0 * block

    client = shared
    numbers = np.full(X.shape, 1.5)
    x = spread(client, numbers)
    y = x.map_blocks(dc.linear(picky, along=(1,)), dtype=x.dtype)
    workers = sorted(client.nthreads())
    with testing.delays(
        client,
        testing.Constant(),
        unit=0.08,
        tasks=lambda name: name.startswith(("piece", "parity", "mul", "picky")),
    ):
        with testing.slow(client, workers[0], factor=2):
            for step in range(3):
                assert np.array_equal((y * (2.0 + step)).compute(), 2.0 * numbers * (2.0 + step))
    figures = dc.report(client).to_dict()
    assert figures["omitted"] >= 1 and figures["decoded"] == figures["errors"] == 0
    del x, y
    assert_all_freed(client)
