"""Memory that kernels keep between calls."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

from dask_coded.kernels import combine
from dask_coded.kernels.scratch import scratch

FLOAT = np.dtype(float)


def address(shape: tuple[int, ...] = (10,)) -> int:
    with scratch(shape, FLOAT, like=np.empty(0)) as memory:
        assert memory.shape == shape
        assert memory.dtype == FLOAT
        return memory.ctypes.data


def test_memory_is_used_again() -> None:
    largest = address((100, 50))
    assert [address(), address((0, 4)), address((5000,))] == [largest] * 3


def test_who_asks_in_between_gets_memory_of_its_own() -> None:
    with scratch((8,), FLOAT, like=np.empty(0)) as outer:
        outer[:] = 1
        with scratch((8,), FLOAT, like=np.empty(0)) as inner:
            inner[:] = 2
        np.testing.assert_array_equal(outer, np.ones(8))


def test_large_memory_is_not_kept() -> None:
    kept = address((1000,))
    with scratch((1 << 21,), FLOAT, like=np.empty(0)) as large:
        assert large.ctypes.data != kept
        assert large.nbytes == 1 << 24
    assert address((1000,)) == kept


def test_threads_do_not_share() -> None:
    weights, together = np.array([[1.0, 2.0], [3.0, -1.0]]), Barrier(4, timeout=30)

    def work(seed: int) -> bool:
        blocks = np.random.default_rng(seed).normal(size=(2, 1 << 18))
        expected = weights @ blocks
        together.wait()
        return all(np.allclose(combine(weights, list(blocks)), expected) for _ in range(5))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(4)))
