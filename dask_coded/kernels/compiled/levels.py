"""The largest magnitude of each row, in one pass over a block."""

from __future__ import annotations

from typing import Any

from dask_coded.kernels.compiled.jit import jit

__all__ = ["largest_bits"]


@jit()
def largest_bits(values: Any, mask: Any, largest: Any) -> None:
    """Raise ``largest[row]`` to the largest of ``values[:, row, :] & mask``.

    Without their sign, the bits of floats are in the order of their magnitudes, Inf
    above every number and NaN above Inf.
    """
    outer, rows, inner = values.shape
    for o in range(outer):
        if inner == 1:
            for row in range(rows):
                largest[row] = max(largest[row], values[o, row, 0] & mask)
        else:
            for row in range(rows):
                line = values[o, row]
                most = largest[row]
                for i in range(inner):
                    most = max(most, line[i] & mask)
                largest[row] = most
