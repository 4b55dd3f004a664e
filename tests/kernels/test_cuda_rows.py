"""Levels, factors and divisors of rows on a device: the same numbers as on the host."""

from __future__ import annotations

import numpy as np
import pytest
from device_cases import Device
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import FLOATS, INTEGERS, draw

from dask_coded.kernels import NONFINITE, ZERO, merge_levels, row_levels
from dask_coded.kernels.on_device import row_divisors
from dask_coded.kernels.scaling import row_factors

LAYOUTS = ("C", "F", "strided", "reversed", "swapped", "offset")
SHAPES = (
    (1,),
    (700,),
    (0,),
    (5, 3),
    (3, 700),
    (40, 1),
    (2, 5, 130),
    (70, 4, 3),
    (9, 33, 1),
    (0, 3),
    (3, 0),
    (20, 2, 64),
)


@pytest.mark.usefixtures("no_transfers")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float16", *FLOATS, *INTEGERS])
def test_levels_are_the_same(device: Device, dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for axis in range(-1, len(shape)):
        block = draw(rng, shape, dtype)
        if block.dtype.kind in "fc":
            size = [-1 if d == axis % len(shape) else 1 for d in range(len(shape))]
            powers = rng.uniform(-4, 4, shape[axis]).astype(block.real.dtype)
            block = (block * (block.real.dtype.type(10) ** powers).reshape(size)).astype(dtype)
        levels = device.get(row_levels(device.put(block), axis))
        assert levels.dtype == np.int16
        np.testing.assert_array_equal(levels, row_levels(block, axis))


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["float16", *FLOATS]),
    layout=st.sampled_from(LAYOUTS),
    shape=st.sampled_from([(6, 5), (5, 200), (300, 2), (4, 6, 40)]),
    data=st.data(),
)
def test_every_value_counts(
    device: Device, dtype: str, layout: str, shape: tuple[int, ...], data: st.DataObject
) -> None:
    """One value is larger than all others, not finite, or the only one that is not zero."""
    axis = data.draw(st.integers(0, len(shape) - 1))
    info = np.finfo(dtype)
    value = data.draw(
        st.sampled_from(
            [np.nan, np.inf, -np.inf, info.max, -info.max, info.tiny, -info.smallest_subnormal, -0.0, 4 / 3]
        )
    )
    block = np.zeros(shape, dtype)
    place = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    block[place] = value * (
        1j if block.dtype.kind == "c" and data.draw(st.booleans()) and np.isfinite(value) else 1
    )
    levels = device.get(row_levels(device.lay_out(block, layout), axis))
    np.testing.assert_array_equal(levels, row_levels(block, axis))
    assert levels[place[axis]] == (NONFINITE if not np.isfinite(value) else levels[place[axis]])
    assert (np.delete(levels, place[axis]) == ZERO).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_factors_and_divisors(device: Device, dtype: str) -> None:
    rng = np.random.default_rng(0)
    levels = np.concatenate([rng.integers(-480, 480, 300), [ZERO, NONFINITE, 3, 0, -1]]).astype(np.int16)
    factors = row_factors(device.put(levels), dtype)
    true = row_factors(levels, dtype)
    assert factors is not None and true is not None
    np.testing.assert_array_equal(device.get(factors), true)
    assert factors.dtype == true.dtype
    found = device.get(row_divisors(device.put(levels), 400, dtype))
    np.testing.assert_array_equal(
        found, np.concatenate([np.where(levels == ZERO, np.inf, true), np.ones(95)])
    )


def test_levels_are_merged_where_they_are(device: Device) -> None:
    parts = [np.array(part, np.int16) for part in ([ZERO, 3, 5, 7], [NONFINITE, ZERO, 6, -9], [1, 2, 3, 8])]
    merged = merge_levels([device.put(part) for part in parts])
    assert device.get(merged).tolist() == merge_levels(parts).tolist() == [NONFINITE, 3, 6, 8]
