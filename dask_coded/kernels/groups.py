"""Blocks cut in row groups, and how they are walked without padding.

Blocks may be cut in m groups of rows along one axis; coefficients then are m x m
matrices that mix the groups. Shorter blocks count as padded with zeros, but
nothing is padded: groups are walked in segments in which every group of every
block is wholly there or wholly absent.

    length 8, m = 2        rows 0..3   rows 4..7      walked as
    full block             a a a a     b b b b        [0, 2): a, b, c, d
    shorter block, 6 rows  c c c c     d d            [2, 4): a, b, c
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.scaling import Levels, row_factors

__all__ = ["RowGroups", "block_factors", "check_blocks", "cut", "rows_of"]

Block = NDArray[Any]


def rows_of(start: int, stop: int, axis: int) -> tuple[slice, ...]:
    """Return the index of the rows [start, stop) along `axis`."""
    return (slice(None),) * axis + (slice(start, stop),)


@dataclass(frozen=True)
class RowGroups:
    """Blocks cut in groups of rows.

    Parameters
    ----------
    blocks : sequence of k arrays
        Equal in shape but along `axis`.
    factors : sequence of k arrays or None
        What the rows of each block are multiplied by.
    axis : int
        Axis along which blocks are cut.
    cuts : int
        Number of groups m of a block of full length.
    size : int
        Rows of a group.
    dtype : numpy.dtype
        In which the arithmetic is done.
    """

    blocks: Sequence[Block]
    factors: Sequence[Block | None]
    axis: int
    cuts: int
    size: int
    dtype: np.dtype[Any]

    def segments(self, length: int, most: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of rows within a group, none with an end of a block (or `length`) inside."""
        if not self.size:
            return
        ends = {block.shape[self.axis] % self.size for block in self.blocks} | {length % self.size}
        marks = sorted(ends | {0, self.size})
        for first, last in zip(marks, marks[1:], strict=False):
            for start in range(first, last, most):
                yield start, min(start + most, last)

    def take(self, start: int, stop: int) -> tuple[list[int], list[Block], list[Block | None]]:
        """Return columns, rows and factors of the groups that have the rows [start, stop)."""
        columns, parts, factors = [], [], []
        for i, (block, factor) in enumerate(zip(self.blocks, self.factors, strict=True)):
            for t in range(self.groups_with(stop, block.shape[self.axis])):
                first, last = t * self.size + start, t * self.size + stop
                columns.append(i * self.cuts + t)
                parts.append(block[rows_of(first, last, self.axis)])
                factors.append(None if factor is None else factor[first:last])
        return columns, parts, factors

    def groups_with(self, stop: int, length: int) -> int:
        """Return how many groups of a block of `length` rows have the rows up to `stop`."""
        return 0 if length < stop else 1 + (length - stop) // self.size

    def split(self, whole: Block) -> Block:
        """View an array of `cuts` whole groups as (cuts, ..., rows of a group, ...)."""
        shape = (*whole.shape[: self.axis], self.cuts, -1, *whole.shape[self.axis + 1 :])
        return np.moveaxis(whole.reshape(shape), self.axis, 0)


def cut(
    weights: Block,
    blocks: Sequence[Block],
    factors: Sequence[Block | None],
    axis: int,
    length: int,
    dtype: np.dtype[Any],
) -> RowGroups:
    """Check that weights, blocks and length agree, and cut the blocks."""
    if weights.ndim != 2 or not weights.shape[0] or weights.shape[1] != weights.shape[0] * len(blocks):
        raise ValueError(f"weights of shape {weights.shape} for {len(blocks)} blocks")
    cuts = weights.shape[0]
    if length % cuts:
        raise ValueError(f"{length} rows cannot be cut in {cuts} equal groups")
    return RowGroups(blocks, factors, axis, cuts, length // cuts, dtype)


def check_blocks(blocks: Sequence[Block], axis: int, length: int) -> int:
    """Check that blocks differ at most in their length along `axis`; return it counted from 0."""
    if not len(blocks):
        raise ValueError("at least one block is needed")
    ndim = blocks[0].ndim
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis {axis} of blocks with {ndim} axes")
    axis %= ndim
    if len({(*block.shape[:axis], -1, *block.shape[axis + 1 :]) for block in blocks}) != 1:
        raise ValueError(f"blocks differ in more than axis {axis}: {sorted({b.shape for b in blocks})}")
    longest = max(block.shape[axis] for block in blocks)
    if longest > length:
        raise ValueError(f"a block has {longest} rows along axis {axis}, more than {length}")
    return axis


def block_factors(
    levels: Sequence[Levels] | None,
    own: Sequence[int],
    blocks: Sequence[Block],
    axis: int,
    dtype: np.dtype[Any],
) -> list[Block | None]:
    """Return what the rows of each block are multiplied by; `own` -1 is left as it is."""
    if len(own) != len(blocks):
        raise ValueError(f"{len(own)} owners of {len(blocks)} blocks")
    if levels is None or dtype.kind in "iu":
        return [None] * len(blocks)
    factors: list[Block | None] = []
    for i, block in zip(own, blocks, strict=True):
        if i >= 0 and levels[i].shape != (block.shape[axis],):
            raise ValueError(f"{levels[i].shape} levels for {block.shape[axis]} rows of a block")
        factors.append(row_factors(levels[i], dtype) if i >= 0 else None)
    return factors
