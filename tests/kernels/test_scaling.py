"""Row exponents and the factors made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import FLOATS, LAYOUTS, draw, lay_out

from dask_coded.kernels import NONFINITE, ZERO, merge_exponents, row_exponents
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
def test_exponents_enclose_the_largest(
    shape: tuple[int, ...], dtype: str, layout: str, where: int, spread: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    axis = where % len(shape)
    spread = min(spread, 3) if dtype == "float16" else spread
    block = draw(rng, shape, dtype) * (10.0 ** rng.integers(-spread, spread + 1, shape)).astype(dtype)
    exponents = row_exponents(lay_out(block, layout), axis - len(shape) if seed % 2 else axis)
    assert exponents.dtype == np.int16 and exponents.shape == (shape[axis],)
    for row, e in zip(np.moveaxis(block, axis, 0), exponents.tolist(), strict=True):
        largest = float(max(np.abs(row.real).max(), np.abs(row.imag).max()))
        if largest == 0:
            assert e == ZERO
        else:
            assert e == np.clip(np.frexp(largest)[1], -exponent_limit(dtype), exponent_limit(dtype))
            assert abs(e) == exponent_limit(dtype) or 2.0 ** (e - 1) <= largest < 2.0**e


def test_marks() -> None:
    block = np.array([[0.0, 0.0], [np.nan, 1.0], [1.0, -np.inf], [-0.0, 3.0]])
    assert row_exponents(block, 0).tolist() == [ZERO, NONFINITE, NONFINITE, 2]
    both = np.zeros(4, complex)
    both.imag = block[:, 1]
    assert row_exponents(both, 0).tolist() == [ZERO, 1, NONFINITE, 2]
    assert row_exponents(np.empty((2, 0)), 0).tolist() == [ZERO, ZERO]
    assert row_exponents(np.empty((2, 0)), 1).tolist() == []
    assert row_exponents(np.arange(3), 0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_ends_of_the_range_scale_exactly_both_ways(dtype: str) -> None:
    info = np.finfo(dtype)
    block = np.array([info.max, info.tiny, info.smallest_subnormal, 1], dtype=dtype)
    exponents = row_exponents(block, 0)
    there, back = row_factors(exponents, dtype), row_factors(exponents, dtype, sign=1)
    assert there is not None and back is not None
    scaled = block * there
    assert (np.abs(scaled) <= 4).all()
    np.testing.assert_array_equal(scaled * back, block)


def test_large_blocks_are_walked_in_tiles() -> None:
    block = np.ones((3, 200_000), np.float32)
    block[1, -1], block[2, 77] = -9, np.inf
    assert row_exponents(block, 0).tolist() == [1, 4, NONFINITE]
    assert row_exponents(block.T, 1).tolist() == [1, 4, NONFINITE]


def test_merge() -> None:
    parts = [np.array(row, np.int16) for row in ([ZERO, ZERO, 5, 3], [ZERO, -900, 2, NONFINITE])]
    assert merge_exponents(parts).tolist() == [ZERO, -900, 5, NONFINITE]
    assert merge_exponents(parts).dtype == np.int16
    assert merge_exponents(parts[:1]).tolist() == parts[0].tolist()
    with pytest.raises(ValueError, match="shapes"):
        merge_exponents([parts[0], parts[1][:2]])


def test_factors() -> None:
    exponents = np.array([3, ZERO, NONFINITE, -2], np.int16)
    factors = row_factors(exponents, np.float32)
    assert factors is not None and factors.dtype == np.float32
    assert factors.tolist() == [0.125, 1, 1, 4]
    assert row_factors(np.array([0, ZERO], np.int16), np.float32) is None
    with pytest.raises(OverflowError, match="float32 holds 126"):
        row_factors(np.array([500], np.int16), np.float32)
