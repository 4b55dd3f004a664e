"""The arithmetic under all combinations: blocks into results, rows scaled on the way.

Blocks are walked tile by tile, so that a tile of the result stays in cache while
every block passes once:

    integers, or weights 0, 1, -1     result tile  +=  each block's tile
    other weights, or scaled rows     tiles of all blocks -> buffer (k, tile)
                                      weights (m, k) @ buffer -> result tiles
    float32, float64, complex, with   weights (m, k) @ four blocks at a time
    compiled kernels                    -> result tiles

Long sums of floats are summed in groups and the groups in pairs, so that k terms
round log k times and not k times. No temporary is larger than the buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.backend import compiled
from dask_coded.kernels.dtypes import real_dtype
from dask_coded.kernels.runs import Runs, runs
from dask_coded.kernels.signed import SignedSum
from dask_coded.kernels.tiles import memory_order, tiles

__all__ = ["Watch", "mix"]

Block = NDArray[Any]
Factors = Sequence[Block | None]

# Bytes, from measurements; a factor of two either way costs about a tenth.
_RESULT_TILE = 1 << 20  # where only a tile of the result must stay in cache
_ALL_TILES = 1 << 22  # where the tiles of all blocks must
_LEAST_TILE = 1 << 14  # below this calls cost more than arithmetic
_COMPILED_TILE, _COMPILED_LINES = 1 << 15, 1 << 18  # of one result; of all blocks once scaled

_LONGEST_SUM = 8  # terms summed in one go; the sums of longer ones are added in pairs, to round less
_ROW_BY_ROW = 4  # results up to which products with one row of weights are faster than with all


class Watch(Protocol):
    """Measures rows of blocks and results; may then divide those of the results."""

    divisors: Block | None

    def __call__(self, rows: slice, axis: int, sources: Sequence[Block], results: Block) -> None:
        """Measure `rows` of the block, along `axis` of each source and ``axis + 1`` of the results."""

    def take(self, squares: Block, axis: int, blocks: Sequence[Block], factors: Factors) -> bool:
        """Take sums of squares of all rows instead; false if they cannot be trusted."""


def mix(
    weights: Block,
    blocks: Sequence[Block],
    out: Block,
    factors: Factors | None = None,
    axis: int = 0,
    watch: Watch | None = None,
) -> None:
    """Combine blocks into `out`, rows scaled on the way; the arguments are not checked.

    Parameters
    ----------
    weights : ndarray, shape (m, k)
        From `fit_weights`.
    blocks : sequence of k arrays of one shape, at least 1-d
        Cast to the dtype of `out` before the arithmetic.
    out : ndarray, shape (m, *shape)
        Result; must not overlap a block.
    factors : sequence of k arrays or None, optional
        What the rows of each block are multiplied by.
    axis : int
        Axis of the blocks whose indices are the rows.
    watch : Watch, optional
        Called after each tile, or once for all, with the blocks that have weights other than zero.
    """
    used = np.flatnonzero(weights.any(axis=0)).tolist()
    if not used:
        out[...] = 0
        return
    weights = weights[:, used]
    order = memory_order(blocks[0])
    blocks = [blocks[j].transpose(order) for j in used]
    out = out.transpose(0, *(d + 1 for d in order))
    axis = order.index(axis)
    factors = [factors[j] if factors else None for j in used]
    if out.dtype.kind in "iu":
        factors = [None] * len(used)
    if out.size and _mix_compiled(weights, blocks, out, factors, axis, watch):
        return
    _mix_tiles(weights, blocks, out, factors, axis, watch)


def _mix_compiled(
    weights: Block, blocks: Sequence[Block], out: Block, factors: Factors, axis: int, watch: Watch | None
) -> bool:
    """Combine with compiled kernels; false if there are none for this, or if they did not suffice."""
    real = real_dtype(out.dtype) if out.dtype.kind in "fc" else out.dtype
    kernels = compiled(real.char)
    if kernels is None or weights.dtype != real:
        return False
    if any(type(array) is not np.ndarray or array.dtype != out.dtype for array in (out, *blocks)):
        return False
    rows_matter = watch is not None or any(factor is not None for factor in factors)
    found = runs([*blocks, *out], axis if rows_matter else None)
    if found is None or (found.along and out.dtype.kind == "c" and rows_matter):
        return False
    squares = np.zeros((len(blocks) + len(out), found.shape[1]) if watch is not None else (0, 0))
    divisors = None if watch is None else watch.divisors
    _run(kernels, weights, found, out.dtype.itemsize // real.itemsize, factors, divisors, squares)
    with np.errstate(all="ignore"):
        return watch is None or watch.take(squares, axis, blocks, factors)


def _run(
    kernels: ModuleType,
    weights: Block,
    found: Runs,
    parts: int,
    factors: Factors,
    divisors: Block | None,
    squares: Block,
) -> None:
    """Call the kernel; complex numbers are two real ones, `parts`."""
    dtype, k, (outer, rows, inner) = weights.dtype, weights.shape[1], found.shape
    scaled = any(factor is not None for factor in factors)
    nothing = np.empty((0, 0), dtype)
    scale = nothing
    if scaled:
        scale = np.ones((k, rows), dtype)
        for line, factor in zip(scale, factors, strict=True):
            line[:] = 1 if factor is None else factor
    size = min(_COMPILED_TILE, max(_COMPILED_LINES // k, 1 << 12)) if scaled else _COMPILED_TILE
    lines = np.empty((k if scaled else 0, size // dtype.itemsize), dtype)
    levels = np.empty((ceil(log2(ceil(k / _LONGEST_SUM))) + 1, 3, size // dtype.itemsize), dtype)
    kernels.mix_segments(
        np.ascontiguousarray(weights),
        found.places,
        (outer, rows, inner * parts),
        found.along and parts == 1,
        (scale, nothing if divisors is None else np.ascontiguousarray(divisors, dtype)),
        squares,
        lines.ctypes.data + np.arange(len(lines)) * size,
        levels.ctypes.data + np.arange(levels.shape[0] * 3).reshape(-1, 3) * size,
        size // dtype.itemsize,
        dtype,
    )


def _mix_tiles(
    weights: Block, blocks: Sequence[Block], out: Block, factors: Factors, axis: int, watch: Watch | None
) -> None:
    """Combine with NumPy."""
    scaled = any(factor is not None for factor in factors)
    adds = out.dtype.kind in "iu" or (not scaled and bool(np.isin(weights, (-1, 0, 1)).all()))
    if watch is None and not scaled and all(each.flags.c_contiguous for each in (*blocks, *out)):
        blocks, out, axis = [block.reshape(-1) for block in blocks], out.reshape(len(out), -1), 0
    size = _tile_bytes(weights, alone=adds and watch is None) // out.dtype.itemsize
    with np.errstate(all="ignore"):
        if adds:
            _add_tiles(weights, blocks, out, axis, watch, size)
        else:
            _multiply_tiles(weights, blocks, out, factors, axis, watch, size)


def _add_tiles(
    weights: Block, blocks: Sequence[Block], out: Block, axis: int, watch: Watch | None, size: int
) -> None:
    rows = [SignedSum(row, blocks, out.dtype) for row in weights]
    width = min(size, blocks[0].size)
    spare = np.empty((SignedSum.room(len(blocks)), width), out.dtype, like=out)
    for index in tiles(blocks[0].shape, size):
        sources = [block[index] for block in blocks]
        results = out[(slice(None), *index)]
        room = [line[: sources[0].size].reshape(sources[0].shape) for line in spare]
        for row, result in zip(rows, results, strict=True):
            row(sources, result, room)
        if watch is not None:
            watch(index[axis], axis, sources, results)


def _multiply_tiles(
    weights: Block,
    blocks: Sequence[Block],
    out: Block,
    factors: Factors,
    axis: int,
    watch: Watch | None,
    size: int,
) -> None:
    width = min(size, blocks[0].size)
    lines = [_along(factor, axis, out.ndim - 1) for factor in factors]
    buffer = np.empty((len(blocks), width), out.dtype, like=out)
    spare = np.empty((_halvings(weights), len(weights), width), out.dtype, like=out)
    for index in tiles(blocks[0].shape, size):
        sources = [block[index] for block in blocks]
        results = out[(slice(None), *index)]
        sources = _gather(sources, buffer, lines, index[axis], axis)
        _multiply(weights, buffer[:, : sources[0].size], results, spare)
        if watch is not None:
            watch(index[axis], axis, sources, results)


def _tile_bytes(weights: Block, alone: bool) -> int:
    if alone:
        return _RESULT_TILE
    return max(_ALL_TILES // int(weights.shape[1]), _LEAST_TILE)


def _along(factor: Block | None, axis: int, ndim: int) -> Block | None:
    return None if factor is None else factor.reshape([-1 if d == axis else 1 for d in range(ndim)])


def _gather(tiles_: list[Block], buffer: Block, factors: Factors, rows: slice, axis: int) -> list[Block]:
    """Copy tiles into the rows of the buffer, scaled; return them as they lie there."""
    places = [line[: tile.size].reshape(tile.shape) for line, tile in zip(buffer, tiles_, strict=True)]
    for place, tile, factor in zip(places, tiles_, factors, strict=True):
        if factor is None:
            np.copyto(place, tile, casting="unsafe")
        else:
            scale = factor[(slice(None),) * axis + (rows,)]
            np.multiply(tile, scale, out=place, dtype=buffer.dtype, casting="unsafe")
    return places


def _halvings(weights: Block) -> int:
    """Return how often sums are halved until none is longer than `_LONGEST_SUM`."""
    longest = int(np.count_nonzero(weights, axis=1).max(initial=1))
    return max(0, ceil(log2(longest / _LONGEST_SUM)))


def _multiply(weights: Block, lines: Block, results: Block, spare: Block) -> None:
    """``results = weights @ lines``, straight into the result where it lies in one piece."""
    straight = results[0].flags.c_contiguous
    shape = len(results), lines.shape[1]
    flat = results.reshape(shape) if straight else np.empty_like(lines, shape=shape)
    target, spare = flat, spare[..., : shape[1]]
    if lines.dtype.kind == "c" and weights.dtype.kind != "c":
        lines, target, spare = (each.view(weights.dtype) for each in (lines, flat, spare))
    _matmul_by_halves(weights, lines, target, spare)
    if not straight:
        results[...] = flat.reshape(results.shape)


def _matmul_by_halves(weights: Block, lines: Block, out: Block, spare: Block) -> None:
    """``out = weights @ lines``, halved as often as there is space to spare."""
    if not len(spare) or len(lines) < 2:
        if len(weights) > _ROW_BY_ROW:
            np.matmul(weights, lines, out=out)
            return
        for row, result in zip(weights, out, strict=True):
            np.matmul(row, lines, out=result)
        return
    half = len(lines) // 2
    _matmul_by_halves(weights[:, :half], lines[:half], out, spare[1:])
    _matmul_by_halves(weights[:, half:], lines[half:], spare[0], spare[1:])
    np.add(out, spare[0], out=out)
