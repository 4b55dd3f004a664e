"""Row levels and the factors made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import FLOATS, LAYOUTS, draw, lay_out

from dask_coded.kernels import NONFINITE, ZERO, merge_levels, row_levels
from dask_coded.kernels.scaling import exponent_limit, row_factors


@settings(max_examples=100, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple),
    dtype=st.sampled_from((*FLOATS, "float16")),
    layout=st.sampled_from(LAYOUTS),
    where=st.integers(0, 3),
    spread=st.integers(0, 30),
    seed=st.integers(0, 2**32),
)
def test_levels_enclose_the_largest(
    shape: tuple[int, ...], dtype: str, layout: str, where: int, spread: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    axis = where % len(shape)
    spread = min(spread, 3) if dtype == "float16" else spread
    block = draw(rng, shape, dtype) * (10.0 ** rng.integers(-spread, spread + 1, shape)).astype(dtype)
    levels = row_levels(lay_out(block, layout), axis - len(shape) if seed % 2 else axis)
    assert levels.dtype == np.int16 and levels.shape == (shape[axis],)
    for row, level in zip(np.moveaxis(block, axis, 0), levels, strict=True):
        largest = float(max(np.abs(row.real).max(), np.abs(row.imag).max()))
        if largest == 0:
            assert level == ZERO
        else:
            factor = row_factors(level[np.newaxis], dtype)
            scaled = largest * (1.0 if factor is None else float(factor[0]))
            assert 1.6 - 1e-12 <= scaled <= 2 or abs(level) >= 4 * exponent_limit(dtype) - 1


def test_marks() -> None:
    block = np.array([[0.0, 0.0], [np.nan, 1.0], [1.0, -np.inf], [-0.0, 3.0]])
    assert row_levels(block, 0).tolist() == [ZERO, NONFINITE, NONFINITE, 6]
    both = np.zeros(4, complex)
    both.imag = block[:, 1]
    assert row_levels(both, 0).tolist() == [ZERO, 0, NONFINITE, 6]
    assert row_levels(np.empty((2, 0)), 0).tolist() == [ZERO, ZERO]
    assert row_levels(np.empty((2, 0)), 1).tolist() == []
    assert row_levels(np.arange(3), 0).tolist() == [3, 3, 3]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_ends_of_the_range_scale_both_ways(dtype: str) -> None:
    info = np.finfo(dtype)
    block = np.array([info.max, info.tiny, info.smallest_subnormal, 1], dtype=dtype)
    levels = row_levels(block, 0)
    factors = row_factors(levels, dtype)
    assert factors is not None
    scaled = block * factors
    assert (np.abs(scaled) <= 8).all()
    np.testing.assert_allclose(scaled / factors, block, rtol=4 * info.eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_numbers_stay_exact(dtype: str) -> None:
    """Also as sums of scaled rows, from which the others are taken away again."""
    numbers = np.arange(1, 2**15, dtype=dtype)
    factors = row_factors(row_levels(numbers, 0), dtype)
    assert factors is not None and set(np.frexp(factors)[0] * 8) == {4, 5, 6, 7}
    total = numbers * factors + numbers[::-1] * factors[::-1]
    np.testing.assert_array_equal((total - numbers[::-1] * factors[::-1]) / factors, numbers)


def test_large_blocks_are_walked_in_tiles() -> None:
    block = np.ones((3, 200_000), np.float32)
    block[1, -1], block[2, 77] = -9, np.inf
    assert row_levels(block, 0).tolist() == [0, 12, NONFINITE]
    assert row_levels(block.T, 1).tolist() == [0, 12, NONFINITE]


def test_merge() -> None:
    parts = [np.array(row, np.int16) for row in ([ZERO, ZERO, 5, 3], [ZERO, -900, 2, NONFINITE])]
    assert merge_levels(parts).tolist() == [ZERO, -900, 5, NONFINITE]
    assert merge_levels(parts).dtype == np.int16
    assert merge_levels(parts[:1]).tolist() == parts[0].tolist()
    with pytest.raises(ValueError, match="shapes"):
        merge_levels([parts[0], parts[1][:2]])


def test_factors() -> None:
    levels = np.array([15, ZERO, NONFINITE, -6], np.int16)
    factors = row_factors(levels, np.float32)
    assert factors is not None and factors.dtype == np.float32
    assert factors.tolist() == [0.125, 1, 1, 5]
    assert row_factors(np.array([3, ZERO], np.int16), np.float32) is None
    with pytest.raises(OverflowError, match="float32 holds 126"):
        row_factors(np.array([2000], np.int16), np.float32)
