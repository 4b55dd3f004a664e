"""What is done to rows of tiles on the way: scaled, measured, divided.

A row lies in one tile with one factor, or `along` the tile with a factor for each value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_coded.kernels.compiled.jit import jit

__all__ = ["divide", "fold", "measure", "scale"]

#: Of the modules that these kernels are made of too: Numba compares no more than this file with what it kept.
PARTS = "5c811285"

_LEAST = 2.0**-100  # of what weights may become if rows are scaled by way of them


@jit("contract", "reassoc")
def _square_sum(x: Any, factor: Any) -> Any:
    total = (x[0] * factor) * (x[0] * factor)
    for i in range(1, x.size):
        total += (x[i] * factor) * (x[i] * factor)
    return total


@jit()
def _squares_along(squares: Any, x: Any) -> None:
    for i in range(x.size):
        squares[i] += np.float64(x[i]) * np.float64(x[i])


@jit()
def measure(x: Any, factor: Any, squares: Any, along: bool, row: int, start: int) -> None:
    """Add the squares of a tile to those of its rows; of one row, scaled by the factor."""
    if along:
        _squares_along(squares[start:], x)
    else:
        squares[row] += _square_sum(x, factor)


@jit()
def scale(line: Any, x: Any, factors: Any, along: bool, row: int, start: int) -> None:
    """Put a tile with its rows scaled in `line`."""
    if along:
        for i in range(x.size):
            line[i] = x[i] * factors[start + i]
    else:
        factor = factors[row]
        for i in range(x.size):
            line[i] = x[i] * factor


@jit()
def divide(x: Any, divisors: Any, along: bool, row: int, start: int) -> None:
    """Divide rows, without negative zeros where they become zero."""
    if along:
        for i in range(x.size):
            divisor = divisors[start + i]
            x[i] = x[i] / divisor + (0 if divisor == np.inf else x.dtype.type(-0.0))
    elif divisors[row] == np.inf:
        for i in range(x.size):
            x[i] = x[i] / divisors[row] + 0
    elif divisors[row] != 1:
        for i in range(x.size):
            x[i] = x[i] / divisors[row]


@jit()
def fold(weights: Any, factors: Any, products: Any) -> bool:
    """Multiply the weights of blocks by factors; false if a product is not far from under- or overflow."""
    least = weights.dtype.type(_LEAST)
    for s in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            products[s, j] = weights[s, j] * factors[j]
            if weights[s, j] != 0 and not least <= abs(products[s, j]) <= 1 / least:
                return False
    return True
