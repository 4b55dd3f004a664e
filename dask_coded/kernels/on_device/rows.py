"""Levels, factors and divisors of rows on a device; nothing here waits for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from dask_coded.kernels.devices import backend_of
from dask_coded.kernels.dtypes import real_dtype
from dask_coded.kernels.on_device.shapes import Walk, in_memory_order
from dask_coded.kernels.scaling import exponent_limit

__all__ = ["row_divisors", "row_factors", "row_levels"]

FILE = "rows.cu"
STEPS = 8  # tiles of a thread of row_maxima
NAMES = {"f2": "Half", "f4": "float", "f8": "double"}
BITS = {"f2": ("unsigned", "u4"), "f4": ("unsigned", "u4"), "f8": ("Word", "u8")}


def row_levels(block: Any, axis: int) -> Any:
    """Return the level of the largest magnitude in each row, int16."""
    backend = backend_of([block])
    rows = block.shape[axis]
    if block.dtype.kind not in "fc":
        return backend.upload(np.full(rows, 3, np.int16))
    order, (block,) = in_memory_order(backend, [block])
    real = real_dtype(block.dtype)
    # Complex numbers count as two real ones.
    walk = Walk.over(block.shape, order.index(axis % block.ndim), block.dtype.itemsize // real.itemsize)
    bits, dtype = BITS[real.str[1:]]
    maxima = backend.zeros((rows,), dtype)
    levels = backend.empty((rows,), np.int16)
    kernel = FILE, f"row_maxima<{NAMES[real.str[1:]]},{bits}>"
    across = walk.across(real.itemsize)
    threads = -(-walk.threads(real.itemsize, across) // STEPS)
    backend.launch(kernel, threads, block, maxima, walk.planes, walk.rows * walk.inner, walk.inner, across)
    backend.launch((FILE, f"row_levels<{bits}>"), rows, maxima, levels, rows, exponent_limit(block.dtype))
    return levels


def row_factors(levels: Any, dtype: DTypeLike) -> Any:
    """Return what rows of these levels are multiplied by; NaN where `dtype` cannot hold it."""
    backend, real = backend_of([levels]), real_dtype(dtype)
    levels, rows = backend.contiguous(levels), levels.shape[0]
    factors = backend.empty((rows,), real)
    kernel = FILE, f"row_factors<{NAMES[real.str[1:]]}>"
    backend.launch(kernel, rows, levels, factors, rows, exponent_limit(real))
    return factors


def row_divisors(levels: Any, rows: int, dtype: DTypeLike) -> Any:
    """Return what `rows` decoded rows are divided by: Inf for rows of zeros, 1 past the last level."""
    backend, real = backend_of([levels]), real_dtype(dtype)
    levels, known = backend.contiguous(levels), levels.shape[0]
    divisors = backend.empty((rows,), real)
    kernel = FILE, f"row_divisors<{NAMES[real.str[1:]]}>"
    backend.launch(kernel, rows, levels, divisors, known, rows, exponent_limit(real))
    return divisors
