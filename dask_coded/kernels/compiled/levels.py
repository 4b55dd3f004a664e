"""The largest magnitude of each row, in one pass over a block."""

from __future__ import annotations

from typing import Any

from dask_coded.kernels.compiled.jit import at, jit

__all__ = ["largest_bits"]

#: Of the modules that these kernels are made of too: Numba compares no more than this file with what it kept.
PARTS = "5c811285"


@jit()
def largest_bits(address: int, shape: Any, mask: Any, largest: Any) -> None:
    """Raise ``largest[row]`` to the largest of ``values[:, row, :] & mask``.

    Without their sign, the bits of floats are in the order of their magnitudes, Inf
    above every number and NaN above Inf. The values, of the dtype of `largest`, are
    at an address: arrays that may not be written to are of another type to Numba.
    """
    outer, rows, inner = shape
    values = at(address, outer * rows * inner, largest.dtype)
    for o in range(outer):
        if inner == 1:
            line = values[o * rows : (o + 1) * rows]
            for row in range(rows):
                largest[row] = max(largest[row], line[row] & mask)
        else:
            for row in range(rows):
                start = (o * rows + row) * inner
                line = values[start : start + inner]
                most = largest[row]
                for i in range(inner):
                    most = max(most, line[i] & mask)
                largest[row] = most
