"""Exact scaling of rows by powers of two.

A small row that shares a parity sum with a large one loses its digits. Rows are
therefore brought to one magnitude before they are summed, and back after a
decode. Powers of two leave every digit as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dask_coded.kernels.dtypes import real_dtype
from dask_coded.kernels.tiles import tiles

__all__ = ["NONFINITE", "ZERO", "merge_exponents", "row_exponents", "row_factors"]

ZERO = np.int16(-(2**15))
"""Stands for the exponent of a row of zeros: below every other."""

NONFINITE = np.int16(2**15 - 1)
"""Stands for the exponent of a row with NaN or Inf: above every other."""

Exponents = NDArray[np.int16]

_TILE = 1 << 16  # values looked at in one go


def exponent_limit(dtype: DTypeLike) -> int:
    """Return the largest e such that 2**e and 2**-e are both normal numbers."""
    return -int(np.finfo(real_dtype(dtype)).minexp)


def row_exponents(block: NDArray[Any], axis: int) -> Exponents:
    """Return the binary exponent of the largest magnitude in each row.

    Parameters
    ----------
    block : ndarray
        At least one-dimensional.
    axis : int
        A row is all that shares one index along this axis.

    Returns
    -------
    ndarray of int16, shape (block.shape[axis],)
        e with ``2**(e-1) <= max|row| < 2**e``, complex numbers measured by the
        larger of their two parts; `ZERO` for rows of zeros, `NONFINITE` for rows
        with NaN or Inf. Integers are never scaled: all 0. At the ends of the
        dtype's range e is limited so that 2**e and 2**-e are both normal numbers.

    Examples
    --------
    >>> row_exponents(np.array([[1.0, -3.0], [0.0, 0.0]]), axis=0)
    array([     2, -32768], dtype=int16)
    """
    rows = block.shape[axis]
    if block.dtype.kind not in "fc":
        return np.zeros(rows, np.int16)
    largest = _row_maxima(block, axis % block.ndim)
    limit = exponent_limit(block.dtype)
    exponents: Exponents = np.clip(np.frexp(largest)[1], -limit, limit).astype(np.int16)
    exponents[largest == 0] = ZERO
    exponents[~np.isfinite(largest)] = NONFINITE
    return exponents


def _row_maxima(block: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return max|row| (NaN and Inf pass through) without a temporary of the block's size."""
    largest = np.zeros(block.shape[axis], real_dtype(block.dtype))
    others = tuple(d for d in range(block.ndim) if d != axis)
    parts = (block.real, block.imag) if block.dtype.kind == "c" else (block,)
    for index in tiles(block.shape, _TILE):
        seen = largest[index[axis]]
        for part in parts:
            tile = part[index]
            np.maximum(seen, tile.max(axis=others), out=seen)
            np.maximum(seen, -tile.min(axis=others), out=seen)
    return largest


def merge_exponents(exponents: Sequence[Exponents]) -> Exponents:
    """Return the exponents of rows that span several blocks.

    Parameters
    ----------
    exponents : sequence of arrays of one shape
        From `row_exponents`, one for each block of the same rows.

    Returns
    -------
    ndarray of int16
        The largest exponent of each row. The two marks take their right places:
        zero rows never win, rows that are not finite always do.
    """
    if len({part.shape for part in exponents}) != 1:
        raise ValueError(f"exponents of the same rows have shapes {[part.shape for part in exponents]}")
    merged: Exponents = np.maximum.reduce(list(exponents))
    return merged


def row_factors(exponents: Exponents, dtype: DTypeLike, sign: int = -1) -> NDArray[Any] | None:
    """Return the factors ``2**(sign * e)``, or None if all of them are 1.

    Rows marked `ZERO` or `NONFINITE` have the factor 1.

    Raises
    ------
    OverflowError
        If a factor is not a normal number of `dtype`.
    """
    powers = np.where((exponents == ZERO) | (exponents == NONFINITE), 0, exponents.astype(np.int32))
    if not powers.any():
        return None
    limit = exponent_limit(dtype)
    if abs(powers).max() > limit:
        raise OverflowError(f"row exponents reach {abs(powers).max()}, {np.dtype(dtype)} holds {limit}")
    factors: NDArray[Any] = np.ldexp(np.ones((), real_dtype(dtype)), sign * powers)
    return factors
