"""How blocks are laid out for the kernels, and how many threads walk over them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from dask_coded.kernels.devices import Backend
from dask_coded.kernels.tiles import memory_order

__all__ = ["WARP", "Walk", "in_memory_order", "new_block", "width"]

WARP = 32


def width(itemsize: int) -> int:
    """Return the elements of a thread: the V of the kernels."""
    return max(1, min(4, 16 // itemsize))


class Walk(NamedTuple):
    """A block as the kernels see it: `planes` planes of `rows` rows of `inner` elements."""

    planes: int
    rows: int
    inner: int

    @classmethod
    def over(cls, shape: Sequence[int], axis: int, parts: int = 1) -> Walk:
        """Return how a block in C order is seen, with rows along `axis` and `parts` numbers an element."""
        return cls(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]) * parts)

    def across(self, itemsize: int) -> bool:
        """Tell whether threads should go across planes: what they measure then stays in one row."""
        return self.inner < WARP * width(itemsize) and self.planes > 1

    def threads(self, itemsize: int, across: bool) -> int:
        """Return how many threads have something to do."""
        wide, deep = (1, width(itemsize)) if across else (width(itemsize), 1)
        return -(-self.planes // deep) * -(-self.rows * self.inner // (wide * WARP)) * WARP


def in_memory_order(backend: Backend, blocks: Sequence[Any]) -> tuple[tuple[int, ...], list[Any]]:
    """Return the axes in the order in which the first block has them in memory, and blocks in C order so.

    Blocks are copied only if they lie otherwise, or with gaps.
    """
    order = memory_order(blocks[0])
    return order, [backend.contiguous(block.transpose(order)) for block in blocks]


def new_block(backend: Backend, shape: Sequence[int], order: Sequence[int], dtype: Any) -> tuple[Any, Any]:
    """Return a new block in C order when its axes are taken in `order`, and a view in the right order."""
    block = backend.empty(tuple(shape[axis] for axis in order), dtype)
    return block, block.transpose(np.argsort(order).tolist())
