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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.compiled_mixing import Factors, Watch, mix_compiled
from dask_coded.kernels.scratch import scratch
from dask_coded.kernels.signed import SignedSum
from dask_coded.kernels.tiles import memory_order, tiles

__all__ = ["mix", "mix_more"]

Block = NDArray[Any]

# Bytes, from measurements; a factor of two either way costs about a tenth.
_RESULT_TILE = 1 << 20  # where only a tile of the result must stay in cache
_ALL_TILES = 1 << 22  # where the tiles of all blocks must
_TILE = 1 << 19  # of one block, if they are few
_LEAST_TILE = 1 << 14  # below this calls cost more than arithmetic

# Multiplications up to which OpenBLAS multiplies without packing first: twice as fast for few rows.
# Complex weights have no such way there: up to a few rows go faster one by one.
_SMALL_PRODUCT = 1_000_000
_ROW_BY_ROW = 4

_LONGEST_SUM = 8  # terms summed in one go; the sums of longer ones are added in pairs, to round less


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
    if watch is None and len(weights) > 1 and 2 * np.count_nonzero(weights) <= weights.size:
        # Each block goes to few results: as a rule the sub-blocks of a code, to one each.
        for row, result in zip(weights[:, np.newaxis], out[:, np.newaxis], strict=True):
            mix(row, blocks, result, factors, axis)
        return
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
    if out.size and mix_compiled(weights, blocks, out, factors, axis, watch):
        return
    _mix_tiles(weights, blocks, out, factors, axis, watch)


def mix_more(weights: Block, block: Block, out: Block) -> None:
    """Add ``weights[s] * block`` to each ``out[s]``, whose axes lie in memory as those of the block.

    Parameters
    ----------
    weights : ndarray, shape (m,)
        From `fit_weights`.
    block : ndarray, at least 1-d
        Cast to the dtype of `out` before the arithmetic.
    out : ndarray, shape (m, *block.shape)
        Must not overlap the block.
    """
    order = memory_order(block)
    block, out = block.transpose(order), out.transpose(0, *(d + 1 for d in order))
    if not out.size or mix_compiled(weights[:, np.newaxis], [block], out, [None], 0, None, more=True):
        return
    size = _RESULT_TILE // 4 // out.dtype.itemsize
    how: dict[str, Any] = {"dtype": out.dtype, "casting": "unsafe"}
    room = (min(size, block.size),)
    with np.errstate(all="ignore"), scratch(room, out.dtype, like=out) as spare:
        for index in tiles(block.shape, size):
            source, results = block[index], out[(slice(None), *index)]
            product = spare[: source.size].reshape(source.shape)
            for weight, result in zip(weights, results, strict=True):
                if weight == 1:
                    np.add(result, source, result, **how)
                elif weight:
                    np.multiply(source, weight, product, **how)
                    np.add(result, product, result)


def _mix_tiles(
    weights: Block, blocks: Sequence[Block], out: Block, factors: Factors, axis: int, watch: Watch | None
) -> None:
    """Combine with NumPy."""
    scaled = any(factor is not None for factor in factors)
    adds = out.dtype.kind in "iu" or (not scaled and bool(np.isin(weights, (-1, 0, 1)).all()))
    if watch is None and not scaled and all(each.flags.c_contiguous for each in (*blocks, *out)):
        blocks, out, axis = [block.reshape(-1) for block in blocks], out.reshape(len(out), -1), 0
    size = _tile_size(weights, out.dtype, alone=adds and watch is None, adds=adds)
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
    with scratch((SignedSum.room(len(blocks)), width), out.dtype, like=out) as spare:
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
    halvings, rows = _halvings(weights), len(weights)
    with scratch((len(blocks) + halvings * rows, width), out.dtype, like=out) as memory:
        buffer, spare = memory[: len(blocks)], memory[len(blocks) :].reshape(halvings, rows, width)
        for index in tiles(blocks[0].shape, size):
            sources = [block[index] for block in blocks]
            results = out[(slice(None), *index)]
            sources = _gather(sources, buffer, lines, index[axis], axis)
            _multiply(weights, buffer[:, : sources[0].size], results, spare)
            if watch is not None:
                watch(index[axis], axis, sources, results)


def _tile_size(weights: Block, dtype: np.dtype[Any], alone: bool, adds: bool) -> int:
    """Return how many elements of each block are combined at a time."""
    if alone:
        return _RESULT_TILE // dtype.itemsize
    rows, terms = weights.shape
    size: int = min(_ALL_TILES // terms, _TILE) // dtype.itemsize
    if not adds and 1 < rows and weights.dtype.kind != "c":
        product = rows * ceil(terms / 2 ** _halvings(weights)) * (dtype.itemsize // weights.itemsize)
        size = min(size, _SMALL_PRODUCT // product)
    return max(size, _LEAST_TILE // dtype.itemsize)


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
        if weights.dtype.kind == "c" and len(weights) <= _ROW_BY_ROW:
            for row, result in zip(weights, out, strict=True):
                np.matmul(row, lines, out=result)
        else:
            np.matmul(weights, lines, out=out)
        return
    half = len(lines) // 2
    _matmul_by_halves(weights[:, :half], lines[:half], out, spare[1:])
    _matmul_by_halves(weights[:, half:], lines[half:], spare[0], spare[1:])
    np.add(out, spare[0], out=out)
