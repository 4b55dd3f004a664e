"""Scaling of rows to one magnitude.

A small row that shares a parity sum with a large one loses its digits. Rows are
therefore brought to one magnitude before they are summed, and back after a
decode, by powers of two times 1, 5/4, 3/2 or 7/4:

    largest magnitude    1 .. 8/7 .. 4/3 .. 8/5 .. 2
    times                7/4    3/2     5/4    1         is 1.6 to 2

Powers of two alone leave magnitudes within a factor of 2, which costs 32 blocks a
quarter more error. Factors of three bits leave whole numbers exact: they are
multiplied there and divided back, and neither rounds while they have few digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dask_coded.kernels.backend import compiled
from dask_coded.kernels.devices import device_of
from dask_coded.kernels.dtypes import real_dtype
from dask_coded.kernels.tiles import memory_order, tiles

__all__ = ["NONFINITE", "ZERO", "merge_levels", "row_factors", "row_levels"]

ZERO = np.int16(-(2**15))
"""Stands for the level of a row of zeros: below every other."""

NONFINITE = np.int16(2**15 - 1)
"""Stands for the level of a row with NaN or Inf: above every other."""

Levels = NDArray[np.int16]

_TILE = 1 << 16  # values looked at in one go

_BOUNDS = 8 / 7, 4 / 3, 8 / 5  # of the levels between a power of two and the next
_STEPS = np.array([7 / 4, 3 / 2, 5 / 4, 1])  # what brings each of them to 1.6 to 2


def exponent_limit(dtype: DTypeLike) -> int:
    """Return a large e such that 2**e and 2**-e are both normal numbers, and four times e an int16."""
    return min(-int(np.finfo(real_dtype(dtype)).minexp), 8000)


def row_levels(block: NDArray[Any], axis: int) -> Levels:
    """Return the level of the largest magnitude in each row.

    Parameters
    ----------
    block : ndarray
        At least one-dimensional.
    axis : int
        A row is all that shares one index along this axis.

    Returns
    -------
    ndarray of int16, shape (block.shape[axis],)
        ``4 * e + s`` with ``2**e <= max|row| < 2**(e+1)`` and s from 0 to 3, complex
        numbers measured by the larger of their two parts; `ZERO` for rows of
        zeros, `NONFINITE` for rows with NaN or Inf. Integers are never scaled: all
        3, whose factor is 1. At the ends of the dtype's range e is limited so that
        2**e and 2**-e are both normal numbers.

    Examples
    --------
    >>> row_levels(np.array([[1.0, -3.0], [0.0, 0.0]]), axis=0)
    array([     6, -32768], dtype=int16)
    """
    if (device := device_of([block])) is not None:
        return device.row_levels(block, axis)  # type: ignore[no-any-return]
    rows = block.shape[axis]
    if block.dtype.kind not in "fc":
        return np.full(rows, 3, np.int16)
    largest = _row_maxima(block, axis % block.ndim)
    limit = exponent_limit(block.dtype)
    mantissas, exponents = np.frexp(largest)
    steps = np.searchsorted(_BOUNDS, 2 * mantissas, side="right")
    levels: Levels = np.clip(4 * (exponents - 1) + steps, -4 * limit, 4 * limit - 1).astype(np.int16)
    levels[largest == 0] = ZERO
    levels[~np.isfinite(largest)] = NONFINITE
    return levels


def _row_maxima(block: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return max|row| (NaN and Inf pass through) without a temporary of the block's size."""
    largest = np.zeros(block.shape[axis], real_dtype(block.dtype))
    if _raise_compiled(block, axis, largest):
        return largest
    others = tuple(d for d in range(block.ndim) if d != axis)
    parts = (block.real, block.imag) if block.dtype.kind == "c" else (block,)
    for index in tiles(block.shape, _TILE):
        seen = largest[index[axis]]
        for part in parts:
            tile = part[index]
            np.maximum(seen, tile.max(axis=others), out=seen)
            np.maximum(seen, -tile.min(axis=others), out=seen)
    return largest


def _raise_compiled(block: NDArray[Any], axis: int, largest: NDArray[Any]) -> bool:
    """Do the same in one pass with a compiled kernel; false if there is none for this."""
    kernels = compiled(largest.dtype.char)
    if kernels is None or type(block) is not np.ndarray or not block.dtype.isnative or not block.size:
        return False
    if not block.flags.c_contiguous:
        order = memory_order(block)
        block, axis = block.transpose(order), order.index(axis)
        if not block.flags.c_contiguous:
            return False
    bits = np.dtype(f"u{largest.itemsize}")
    parts = 2 if block.dtype.kind == "c" else 1
    shape = prod(block.shape[:axis]), block.shape[axis], prod(block.shape[axis + 1 :]) * parts
    mask = bits.type(np.iinfo(bits).max >> 1)
    kernels.largest_bits(block.ctypes.data, shape, mask, largest.view(bits))
    return True


def merge_levels(levels: Sequence[Levels]) -> Levels:
    """Return the levels of rows that span several blocks.

    Parameters
    ----------
    levels : sequence of arrays of one shape
        From `row_levels`, one for each block of the same rows.

    Returns
    -------
    ndarray of int16
        The highest level of each row. The two marks take their right places:
        zero rows never win, rows that are not finite always do.
    """
    if len({part.shape for part in levels}) != 1:
        raise ValueError(f"levels of the same rows have shapes {[part.shape for part in levels]}")
    merged: Levels = reduce(np.maximum, levels)  # on a device too
    return merged


def row_factors(levels: Levels, dtype: DTypeLike) -> NDArray[Any] | None:
    """Return what brings rows of these levels to 1.6 to 2, or None if all of it is 1.

    Rows marked `ZERO` or `NONFINITE` have the factor 1.

    Raises
    ------
    OverflowError
        If a factor or its inverse is not a normal number of `dtype`.
    """
    if (device := device_of([levels])) is not None:
        return device.row_factors(levels, dtype)  # type: ignore[no-any-return]
    known = np.where((levels == ZERO) | (levels == NONFINITE), 3, levels.astype(np.int32))
    if (known == 3).all():
        return None
    exponents, limit = known // 4, exponent_limit(dtype)
    if abs(exponents).max() > limit:
        raise OverflowError(f"row exponents reach {abs(exponents).max()}, {np.dtype(dtype)} holds {limit}")
    factors: NDArray[Any] = np.ldexp(_STEPS[known % 4].astype(real_dtype(dtype)), -exponents)
    return factors
