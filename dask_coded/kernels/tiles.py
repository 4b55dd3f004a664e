"""How large arrays are walked in pieces that stay in cache."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

from numpy.typing import NDArray

__all__ = ["Index", "memory_order", "tiles"]

Index = tuple[slice, ...]


def tiles(shape: tuple[int, ...], most: int) -> Iterator[Index]:
    """Cut an array in tiles of at most `most` elements, last axes kept whole.

    Yields one slice for each axis, in C order; nothing if the array is empty.

    Examples
    --------
    >>> [index[0] for index in tiles((5, 100), 200)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    if 0 in shape:
        return
    cut = 0
    while cut < len(shape) - 1 and prod(shape[cut + 1 :]) > most:
        cut += 1
    step = max(1, most // prod(shape[cut + 1 :]))
    whole = tuple(slice(0, size) for size in shape[cut + 1 :])
    for outer in product(*(range(size) for size in shape[:cut])):
        head = tuple(slice(i, i + 1) for i in outer)
        for start in range(0, shape[cut], step) if shape else ():
            yield (*head, slice(start, min(start + step, shape[cut])), *whole)


def memory_order(block: NDArray[Any]) -> tuple[int, ...]:
    """Return the axes from the slowest in memory to the fastest."""
    return tuple(sorted(range(block.ndim), key=lambda d: -abs(block.strides[d])))
