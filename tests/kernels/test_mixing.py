"""Both backends walk all layouts, and sums and differences have the same bits."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import LAYOUTS, draw, lay_out

from dask_coded.kernels import combine
from dask_coded.kernels.backend import numpy_only
from dask_coded.kernels.dtypes import real_dtype
from dask_coded.kernels.mixing import mix


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 4),
    st.sampled_from(["float32", "float64", "complex64"]),
    st.lists(st.sampled_from(LAYOUTS), min_size=1, max_size=3),
    st.integers(0, 2**32),
)
def test_sums_and_differences_have_the_same_bits(
    k: int, m: int, dtype: str, layouts: list[str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    blocks = [lay_out(draw(rng, (90, 70), dtype), layouts[j % len(layouts)]) for j in range(k)]
    weights = rng.integers(-1, 2, (m, k))
    found = combine(weights, blocks)
    with numpy_only():
        assert combine(weights, [np.array(block) for block in blocks]).tobytes() == found.tobytes()


@pytest.mark.parametrize(
    "cut",
    [
        lambda wide: wide[:, :100],
        lambda wide: wide[10:110],
        lambda wide: wide.T[:100],
        lambda wide: wide[::2],
    ],
    ids=["columns", "rows", "transposed", "every second row"],
)
@pytest.mark.parametrize("weights", [np.ones((1, 5)), np.arange(10.0).reshape(2, 5)], ids=["sum", "weights"])
def test_views_are_combined_without_copies(cut: Any, weights: Any) -> None:
    blocks = [cut(np.full((400, 8000), float(j))) for j in range(5)]
    out = np.empty((len(weights), *blocks[0].shape))
    combine(weights, blocks, out=out)
    tracemalloc.start()
    try:
        combine(weights, blocks, out=out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 7 << 20
    expected = weights @ np.arange(5.0)
    assert (out == expected[:, np.newaxis, np.newaxis]).all()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_rows_are_scaled_by_factors_of_all_magnitudes(dtype: str, axis: int) -> None:
    """Also by such as take weights out of the range of the dtype."""
    rng = np.random.default_rng(axis)
    weights = np.array([[1.0, -1.0, 0.0], [3.0, 1e-20, 2e10]], real_dtype(dtype))
    largest = np.finfo(dtype).maxexp - 3
    exponents = np.array([-largest, -99, -1, 0, 2, 101, largest])
    factors = [np.ldexp(1.25, rng.permutation(exponents)).astype(weights.dtype) for _ in range(3)]
    shape = (7, 90) if axis == 0 else (90, 7)
    lines = [each.reshape((-1, 1) if axis == 0 else (1, -1)) for each in factors]
    blocks = [(draw(rng, shape, dtype) / line).astype(dtype) for line in lines]
    out = np.empty((2, *shape), dtype)
    mix(weights, blocks, out, factors, axis)
    scaled = [block * line for block, line in zip(blocks, lines, strict=True)]
    expected = np.tensordot(weights, scaled, 1)
    sizes = np.tensordot(abs(weights), np.abs(scaled), 1)
    assert (abs(out - expected) <= 8 * np.finfo(dtype).eps * sizes).all()
