"""The obvious combination of blocks: slow, and the judge of the fast one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["combine"]


def combine(weights: ArrayLike, blocks: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    """Return ``result[s] = sum_j weights[s, j] * blocks[j]``, one term after another.

    Parameters
    ----------
    weights : array_like, shape (m, k)
        Coefficients. For an integer `dtype` they must be whole numbers.
    blocks : sequence of k arrays of one shape
        What is combined.
    dtype : dtype-like
        dtype of all arithmetic and of the result. Integers wrap modulo 2**w.

    Returns
    -------
    ndarray, shape (m, *shape)
    """
    rows = np.asarray(weights).tolist()
    result = np.zeros((len(rows), *blocks[0].shape), dtype=dtype)
    ring = 1 << (8 * result.dtype.itemsize)
    for s, row in enumerate(rows):
        for weight, block in zip(row, blocks, strict=True):
            if weight == 0:
                continue
            if result.dtype.kind in "iu":
                weight = np.array(int(weight) % ring, dtype=np.uint64).astype(dtype)
            else:
                weight = result.dtype.type(weight) if isinstance(weight, complex) else weight
            result[s, ...] += np.multiply(weight, block.astype(dtype), dtype=dtype)
    return result
