"""Arrays as addresses and steps: how compiled kernels walk what does not lie in one piece.

All arrays of one shape are seen as (outer, rows, inner), without moving anything:

    shape (5, 4, 3, 7), axis 2        outer 20        rows 3      inner 7
                                      one step        one step    contiguous
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Runs", "runs"]

_SHORTEST = 64  # elements: shorter pieces cost more to find than to combine


@dataclass(frozen=True)
class Runs:
    """How arrays of one shape are walked.

    Parameters
    ----------
    shape : (int, int, int)
        outer, rows and inner.
    places : ndarray of int64, shape (arrays, 3)
        Address, and steps in bytes to the next outer index and to the next row.
    """

    shape: tuple[int, int, int]
    places: NDArray[np.int64]

    @property
    def along(self) -> bool:
        """Rows are single elements that follow each other."""
        return self.shape[2] == 1


def runs(arrays: Sequence[NDArray[Any]], axis: int | None) -> Runs | None:
    """Return how to walk arrays of one shape and itemsize, None if it would not be worth it.

    Parameters
    ----------
    arrays : sequence of ndarrays
        At least 1-d and not empty, axes in their order in memory.
    axis : int or None
        Axis of the rows; None if it does not matter.
    """
    shape, itemsize = arrays[0].shape, arrays[0].itemsize
    first = max(_contiguous_from(array, itemsize) for array in arrays)
    if axis is None:
        axis = first - 1
    elif first > axis + 1:
        return None
    inner = prod(shape[axis + 1 :])
    rows = shape[axis] if axis >= 0 else 1
    places = np.empty((len(arrays), 3), np.int64)
    for place, array in zip(places, arrays, strict=True):
        step = _one_step(array, axis)
        if step is None:
            return None
        place[:] = array.ctypes.data, step, array.strides[axis] if axis >= 0 else 0
    follow = inner == 1 and bool((places[:, 2] == itemsize).all())
    if (rows if follow else inner) < min(_SHORTEST, prod(shape)):
        return None
    return Runs((prod(shape[: max(axis, 0)]), rows, inner), places) if inner > 1 or follow else None


def _contiguous_from(array: NDArray[Any], itemsize: int) -> int:
    """Return the first axis from which on all axes together lie in one piece."""
    expected = itemsize
    for d in range(array.ndim - 1, -1, -1):
        if array.shape[d] != 1 and array.strides[d] != expected:
            return d + 1
        expected *= array.shape[d]
    return 0


def _one_step(array: NDArray[Any], axis: int) -> int | None:
    """Return the step of the axes before `axis` taken as one, None if they have none."""
    step = size = None
    for d in range(axis - 1, -1, -1):
        if array.shape[d] == 1:
            continue
        if step is None:
            step, size = array.strides[d], array.shape[d]
        elif size is not None and array.strides[d] != step * size:
            return None
        else:
            size = (size or 1) * array.shape[d]
    return step or 0
