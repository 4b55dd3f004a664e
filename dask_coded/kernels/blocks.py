"""Encoding blocks into parity, and decoding a lost block from pieces."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from dask_coded.errors import DecodeRefused
from dask_coded.kernels.accuracy import ErrorEstimate, RowNorms
from dask_coded.kernels.checks import check_dtypes, check_pieces, decode_weights, resized
from dask_coded.kernels.combine import empty_like, fit_weights
from dask_coded.kernels.devices import device_of
from dask_coded.kernels.dtypes import parity_dtype, real_dtype
from dask_coded.kernels.groups import RowGroups, block_factors, check_blocks, cut, rows_of
from dask_coded.kernels.mixing import mix
from dask_coded.kernels.scaling import ZERO, Levels, row_factors

__all__ = ["decode_block", "encode_block"]

Block = NDArray[Any]

_ROWS = 8192  # rows whose norms are held at a time


def encode_block(
    coefficients: ArrayLike,
    blocks: Sequence[Block],
    levels: Sequence[Levels] | None = None,
    *,
    axis: int,
    length: int,
    dtype: DTypeLike,
) -> Block:
    """Encode blocks into one parity block.

    Parameters
    ----------
    coefficients : array_like, shape (m, k * m)
        Row group s of the result is the sum over i, t of
        ``coefficients[s, i * m + t]`` times row group t of block i.
    blocks : sequence of k arrays
        Equal in shape but along `axis`, where they may be shorter than `length`
        and count as padded with zeros.
    levels : sequence of k arrays, optional
        From `row_levels`: row r of block i is first multiplied by
        the factor of ``levels[i][r]``. Ignored for integers.
    axis : int
        Axis along which blocks are cut in m groups of rows.
    length : int
        Size of the result along `axis`, a multiple of m.
    dtype : dtype-like
        From `parity_dtype`; all arithmetic is done in it.

    Returns
    -------
    ndarray
        Parity. NaN and Inf of the blocks spread to it.

    Raises
    ------
    TypeError
        If the blocks cannot be coded in `dtype`.

    Examples
    --------
    >>> encode_block([[1, 1]], [np.array([1, 2]), np.array([3])], axis=0, length=2, dtype=int)
    array([4, 2])
    """
    dtype = np.dtype(dtype)
    for block in blocks:
        parity_dtype(block.dtype, dtype)
    axis = check_blocks(blocks, axis, length)
    factors = block_factors(levels, range(len(blocks)), blocks, axis, dtype)
    weights = fit_weights(coefficients, dtype)
    groups = cut(weights, blocks, factors, axis, length, dtype)
    if (device := device_of(blocks)) is not None:
        return device.encode(weights, groups, length)  # type: ignore[no-any-return]
    result = empty_like(blocks[0], resized(blocks[0].shape, axis, length), dtype)
    if not result.size:
        return result
    out = groups.split(result)
    for start, stop in groups.segments(length, length):
        columns, parts, scales = groups.take(start, stop)
        mix(weights[:, columns], parts, out[rows_of(start, stop, axis + 1)], scales, axis)
    return result


@overload
def decode_block(
    weights: ArrayLike,
    pieces: Sequence[Block],
    own: Sequence[int],
    levels: Sequence[Levels] | None = ...,
    *,
    axis: int,
    length: int,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    tolerance: float,
    amplification: float = ...,
    target: int = ...,
    by_row: bool = ...,
    addends: int = ...,
    with_bound: Literal[False] = ...,
) -> Block: ...
@overload
def decode_block(
    weights: ArrayLike,
    pieces: Sequence[Block],
    own: Sequence[int],
    levels: Sequence[Levels] | None = ...,
    *,
    axis: int,
    length: int,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    tolerance: float,
    amplification: float = ...,
    target: int = ...,
    by_row: bool = ...,
    addends: int = ...,
    with_bound: Literal[True],
) -> tuple[Block, float]: ...
def decode_block(
    weights: ArrayLike,
    pieces: Sequence[Block],
    own: Sequence[int],
    levels: Sequence[Levels] | None = None,
    *,
    axis: int,
    length: int,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    tolerance: float,
    amplification: float = 1.0,
    target: int = -1,
    by_row: bool = True,
    addends: int = 1,
    with_bound: bool = False,
) -> Block | tuple[Block, float]:
    """Decode one block from the pieces that arrived, or refuse.

    Parameters
    ----------
    weights : array_like, shape (m, len(pieces) * m)
        Row group s of the result is the sum over j, t of
        ``weights[s, j * m + t]`` times row group t of piece j. They count as
        right to the last digit of float64.
    pieces : sequence of arrays
        Parity pieces have `length` rows along `axis`, the others may be shorter.
    own : sequence of int
        For each piece its place in `levels`; -1 for a parity piece, whose
        rows are scaled already.
    levels : sequence of arrays, optional
        The row levels that were used to encode. Ignored for integers.
    axis, length : int
        As for `encode_block`.
    shape : tuple of int
        Shape of the wanted block; rows past it are not computed.
    dtype : dtype-like
        dtype of the wanted block; the arithmetic is done in its `parity_dtype`.
    tolerance : float
        Largest estimated relative error (2-norm of a row) that is accepted.
    amplification : float
        A priori growth of rounding errors. The bound is never below this times
        the unit roundoff.
    target : int
        Place in `levels` of the wanted block, whose rows are scaled back, and
        are exactly zero where marked `ZERO`. -1 leaves the rows as they are.
    by_row : bool
        Ask for `tolerance` in each row (default) or only in the block as a whole.
    addends : int
        A value of a piece is a sum of so many numbers, added one after the other.
    with_bound : bool
        Also return the bound.

    Returns
    -------
    block : ndarray
        The decoded block.
    bound : float
        Its estimated relative error, only if `with_bound`; 0 for integers.

    Raises
    ------
    DecodeRefused
        If the estimated error exceeds `tolerance`, if a value is not finite, if
        a weight for integers is not -1, 0 or 1, or if a piece that is no parity
        has another dtype than the wanted block.
    """
    result = np.dtype(dtype)
    work = parity_dtype(result, result)
    axis = check_blocks(pieces, axis, length)
    weights = decode_weights(weights, pieces, work)
    try:
        factors = block_factors(levels, own, pieces, axis, work)
        groups = cut(weights, pieces, factors, axis, length, work)
        back = _divisors(levels, target, shape[axis], groups, work)
    except OverflowError as problem:
        raise DecodeRefused(str(problem)) from problem
    check_pieces(groups, own, shape, length)
    check_dtypes(pieces, own, result)
    estimate = ErrorEstimate(work, result, by_row, addends) if work.kind in "fc" else None
    decode_rows = _decode_rows if (device := device_of(pieces)) is None else device.decode_rows
    block = decode_rows(weights, groups, shape, back, estimate)
    bound = _accept(estimate, amplification, tolerance)
    with np.errstate(all="ignore"):
        block = block.astype(result, copy=False)
    if estimate is not None and not estimate.in_range and not np.isfinite(block).all():
        raise DecodeRefused("the decoded block overflows", np.inf, tolerance)
    return (block, bound) if with_bound else block


def _decode_rows(
    weights: Block,
    groups: RowGroups,
    shape: tuple[int, ...],
    back: Block | None,
    estimate: ErrorEstimate | None,
) -> Block:
    """Return the block of this shape; take the errors in."""
    axis, rows = groups.axis, shape[groups.axis]
    whole = rows if groups.cuts == 1 else groups.cuts * groups.size
    block = empty_like(groups.blocks[0], resized(shape, axis, whole), groups.dtype)
    if not prod(shape):
        return block[rows_of(0, rows, axis)]
    out = groups.split(block)
    for start, stop in groups.segments(rows, _ROWS):
        wanted = groups.groups_with(stop, rows)
        if not wanted:
            continue
        place = out[:wanted][rows_of(start, stop, axis + 1)]
        columns, parts, scales = groups.take(start, stop)
        part = weights[:wanted, columns]
        used = np.flatnonzero(part.any(axis=0))
        part, parts, scales = part[:, used], [parts[j] for j in used], [scales[j] for j in used]
        if estimate is None:
            mix(part, parts, place, scales, axis)
            continue
        divisors = None if back is None else back[:wanted, start:stop]
        norms = RowNorms(len(parts), wanted, stop - start, divisors)
        mix(part, parts, place, scales, axis, norms)
        estimate.add(part, norms, [piece.dtype for piece in parts], scales, prod(shape) // rows)
    return block if whole == rows else block[rows_of(0, rows, axis)].copy(order="K")


def _accept(estimate: ErrorEstimate | None, amplification: float, tolerance: float) -> float:
    """Return the bound if it is within tolerance."""
    if estimate is None:
        return 0.0
    if not estimate.finite:
        raise DecodeRefused("a value of the decoded block is not finite", np.inf, tolerance)
    bound = max(estimate.worst, amplification * estimate.precision(estimate.result)[0])
    if not bound <= tolerance:
        raise DecodeRefused("decoding would lose too many digits", bound, tolerance)
    return bound


def _divisors(
    levels: Sequence[Levels] | None,
    target: int,
    rows: int,
    groups: RowGroups,
    work: np.dtype[Any],
) -> Block | None:
    """Return what the decoded rows are divided by, (m, rows of a group); Inf where they must be zero."""
    if levels is None or target < 0 or work.kind in "iu":
        return None
    marks = levels[target]
    if marks.shape != (rows,):
        raise ValueError(f"{marks.shape} levels for {rows} rows of the wanted block")
    if (device := device_of([marks])) is not None:
        divisors: Block = device.row_divisors(marks, groups.cuts * groups.size, work)
        return divisors.reshape(groups.cuts, groups.size)
    factors = row_factors(marks, work)
    zero = marks == ZERO
    if factors is None and not zero.any():
        return None
    back = np.ones(groups.cuts * groups.size, real_dtype(work))
    back[:rows] = np.where(zero, np.inf, 1 if factors is None else factors)
    return back.reshape(groups.cuts, groups.size)
