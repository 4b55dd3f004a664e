"""Linear combinations of blocks at memory speed.

Blocks are walked tile by tile, so that a tile of the result stays in cache while
every block passes once:

    integers, or weights 0, 1, -1     result tile  +=  or  -=  each block's tile
    other weights, or scaled rows     tiles of all blocks -> buffer (k, tile)
                                      weights (m, k) @ buffer -> result tiles

Long sums of the second kind are halved and their halves added, so that k terms
round log k times and not k times. No temporary is larger than the buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dask_coded.kernels.devices import device_of
from dask_coded.kernels.dtypes import parity_dtype, real_dtype
from dask_coded.kernels.tiles import memory_order, tiles

__all__ = ["Watch", "combine", "empty_like", "fit_weights", "mix"]

Block = NDArray[Any]

# Bytes, from measurements; a factor of two either way costs about a tenth.
_RESULT_TILE = 1 << 20  # where only a tile of the result must stay in cache
_ALL_TILES = 1 << 21, 1 << 20  # where the tiles of all blocks must, for one result and for several
_LEAST_TILE = 1 << 14  # below this calls cost more than arithmetic

_LONGEST_SUM = 8  # terms summed in one go; the sums of longer ones are added in pairs, to round less


class Watch(Protocol):
    """Looks at the tiles while they are in cache; may scale the result in place."""

    def __call__(self, rows: slice, axis: int, sources: Sequence[Block], results: Block) -> None:
        """`rows` of the block along `axis` of each source and ``axis + 1`` of the results."""


def combine(weights: ArrayLike, blocks: Sequence[Block], out: Block | None = None) -> Block:
    """Combine blocks linearly: ``result[s] = sum_j weights[s, j] * blocks[j]``.

    Parameters
    ----------
    weights : array_like, shape (m, k)
        Coefficients. Blocks whose weights are all zero are not read.
    blocks : sequence of k arrays of one shape
        Any memory order; never written to.
    out : ndarray, shape (m, *shape), optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (m, *shape)
        In the promoted dtype of the blocks, at least float32 (complex if the
        weights are). Integers: exact modulo 2**w.

    Raises
    ------
    TypeError
        If blocks cannot be combined honestly: bool, objects, dates, or integers
        with weights that are not whole numbers.

    Notes
    -----
    NaN and Inf may reach results whose own weight for that block is zero.

    Examples
    --------
    >>> combine([[1, 1], [1, -1]], [np.array([5, 6]), np.array([2, 3])])
    array([[7, 9],
           [3, 3]])
    """
    weights, dtype = np.asarray(weights), _work_dtype(weights, blocks)
    _check(weights, blocks, out)
    if out is not None and not np.can_cast(dtype, out.dtype, "same_kind"):
        raise TypeError(f"cannot put {dtype} into an out of dtype {out.dtype}")
    weights = fit_weights(weights, dtype)
    if (device := device_of([*blocks] if out is None else [*blocks, out])) is not None:
        return device.combine(weights, blocks, dtype, out)  # type: ignore[no-any-return]
    direct = out is not None and out.dtype == dtype and not any(np.may_share_memory(out, b) for b in blocks)
    flat = [block if block.shape else block.reshape(1) for block in blocks]
    if out is not None and direct:
        mix(weights, flat, out if blocks[0].shape else out[:, np.newaxis])
        return out
    result = empty_like(flat[0], (len(weights), *flat[0].shape), dtype)
    mix(weights, flat, result)
    if out is None:
        return result if blocks[0].shape else result[:, 0]
    np.copyto(out, result.reshape(out.shape), casting="same_kind")
    return out


def _work_dtype(weights: ArrayLike, blocks: Sequence[Block]) -> np.dtype[Any]:
    if not len(blocks):
        raise ValueError("at least one block is needed")
    dtype = np.result_type(*(block.dtype for block in blocks))
    if any(block.dtype.kind == "b" for block in blocks):
        dtype = np.dtype(bool)
    if dtype.kind not in "iub" and all(block.dtype.kind in "iu" for block in blocks):
        raise TypeError("no integer dtype holds the blocks' dtypes, floats would not be exact")
    dtype = parity_dtype(dtype, dtype)
    if np.iscomplexobj(weights) and dtype.kind == "f":
        dtype = np.result_type(dtype, np.complex64)
    return dtype


def _check(weights: Block, blocks: Sequence[Block], out: Block | None) -> None:
    if weights.ndim != 2 or weights.shape[1] != len(blocks):
        raise ValueError(f"weights of shape {weights.shape} for {len(blocks)} blocks")
    shapes = {block.shape for block in blocks}
    if len(shapes) != 1:
        raise ValueError(f"blocks differ in shape: {sorted(shapes)}")
    if out is not None and out.shape != (weights.shape[0], *blocks[0].shape):
        raise ValueError(f"out has shape {out.shape}, not {(weights.shape[0], *blocks[0].shape)}")


def fit_weights(weights: ArrayLike, dtype: np.dtype[Any]) -> Block:
    """Return the weights in the dtype of the arithmetic (the real part's if they are real).

    Integers: wrapped modulo 2**w, and only whole numbers are taken (TypeError).
    """
    weights = np.asarray(weights)
    if dtype.kind in "iu":
        if weights.dtype.kind not in "iu":
            whole = weights.real.astype(np.int64)
            if not np.array_equal(whole, weights):
                raise TypeError("integers can only be combined with whole numbers as weights")
            weights = whole
        return weights.astype(dtype)
    if not np.isfinite(weights).all():
        raise ValueError("weights must be finite")
    if weights.dtype.kind == "c" and dtype.kind != "c":
        raise TypeError(f"complex weights cannot combine to {dtype}")
    return weights.astype(dtype if weights.dtype.kind == "c" else real_dtype(dtype))


def empty_like(block: Block, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Block:
    """Return a new array whose last axes lie in memory as those of `block` do."""
    extra = len(shape) - block.ndim
    order = [*range(extra), *(extra + d for d in memory_order(block))]
    result = np.empty([shape[d] for d in order], dtype, like=block)
    return result if order == sorted(order) else result.transpose(np.argsort(order))


def mix(
    weights: Block,
    blocks: Sequence[Block],
    out: Block,
    factors: Sequence[Block | None] | None = None,
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
    watch : callable, optional
        Called after each tile with the blocks that have weights other than zero.
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
    factors = [_along(factors[j], axis, len(order)) for j in used] if factors else [None] * len(used)
    integer = out.dtype.kind in "iu"
    scaled = not integer and any(factor is not None for factor in factors)
    adds = integer or (not scaled and bool(np.isin(weights, (-1, 0, 1)).all()))
    size = _tile_bytes(weights, alone=adds and watch is None) // out.dtype.itemsize
    width = 0 if adds else min(size, blocks[0].size)
    buffer = np.empty((len(blocks), width), out.dtype, like=out)
    spare = np.empty((_halvings(weights), len(weights), width), out.dtype, like=out)
    terms = [_terms(row) for row in weights] if adds else []
    with np.errstate(all="ignore"):
        for index in tiles(blocks[0].shape, size):
            sources = [block[index] for block in blocks]
            results = out[(slice(None), *index)]
            if adds:
                for row, result in zip(terms, results, strict=True):
                    _add_up(row, sources, result)
            else:
                sources = _gather(sources, buffer, factors, index[axis], axis)
                _multiply(weights, buffer[:, : sources[0].size], results, spare)
            if watch is not None:
                watch(index[axis], axis, sources, results)


def _tile_bytes(weights: Block, alone: bool) -> int:
    if alone:
        return _RESULT_TILE
    results, sources = weights.shape
    return max(_ALL_TILES[results > 1] // int(sources), _LEAST_TILE)


def _along(factor: Block | None, axis: int, ndim: int) -> Block | None:
    return None if factor is None else factor.reshape([-1 if d == axis else 1 for d in range(ndim)])


def _gather(
    tiles_: list[Block], buffer: Block, factors: Sequence[Block | None], rows: slice, axis: int
) -> list[Block]:
    """Copy tiles into the rows of the buffer, scaled; return them as they lie there."""
    places = [line[: tile.size].reshape(tile.shape) for line, tile in zip(buffer, tiles_, strict=True)]
    for place, tile, factor in zip(places, tiles_, factors, strict=True):
        if factor is None:
            np.copyto(place, tile, casting="unsafe")
        else:
            scale = factor[(slice(None),) * axis + (rows,)]
            np.multiply(tile, scale, out=place, dtype=buffer.dtype, casting="unsafe")
    return places


def _terms(row: Block) -> list[tuple[int, Any]]:
    """Return (position, weight) of the weights that are not zero, from the first one on and then around.

    Signs that alternate go on to alternate, which keeps the sums small on the way.
    """
    terms = [(int(j), row[j]) for j in np.flatnonzero(row)]
    first = next((place for place, (_, weight) in enumerate(terms) if weight == 1), 0)
    return terms[first:] + terms[:first]


def _add_up(terms: list[tuple[int, Any]], sources: Sequence[Block], result: Block) -> None:
    """``result = sum of weight * source`` with one pass per term, no products by 1 or -1."""
    how: dict[str, Any] = {"out": result, "dtype": result.dtype, "casting": "unsafe"}
    if not terms:
        result[...] = 0
        return
    minus = np.array(-1).astype(result.dtype)
    (j, weight), *rest = terms
    sofar = sources[j]
    if weight != 1 or not rest or rest[0][1] not in (1, minus):
        sofar = np.multiply(sofar, weight, **how)
    for j, weight in rest:
        if weight == 1:
            sofar = np.add(sofar, sources[j], **how)
        elif weight == minus:
            sofar = np.subtract(sofar, sources[j], **how)
        else:
            product = np.multiply(sources[j], weight, dtype=result.dtype, casting="unsafe")
            sofar = np.add(sofar, product, out=result)


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
        np.matmul(weights, lines, out=out)
        return
    half = len(lines) // 2
    _matmul_by_halves(weights[:, :half], lines[:half], out, spare[1:])
    _matmul_by_halves(weights[:, half:], lines[half:], spare[0], spare[1:])
    np.add(out, spare[0], out=out)
