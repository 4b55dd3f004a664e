"""How wrong a decoded block may be, estimated from norms of what it was made of.

A row C of the result is sum_j D_j Y_j over rows Y_j of the pieces. Each Y_j is
known to about u ||Y_j||, so C is known to about u sqrt(sum_j D_j^2 ||Y_j||^2).
The true error has been within a factor of 2.1 to 3.6 of this over twelve orders of
magnitude for 8 terms. Sums of more terms round more often: over 4096 rows of one
value, the least favourable, the worst factor grew to about 1.5 times the root of
the number of terms. Pieces that are products are wrong themselves: by up to 20 u for
inner dimensions from 64 to 65536, worst near 1024. Sums of n numbers, added in turn, are
wrong by 0.15 to 0.6 sqrt(n) u for numbers of several distributions; n times one number
is the exception, where errors go one way: up to n / 8 u, in a block that is not decoded too.
The error E assumed here is max(4, 2 sqrt(terms)) + 12 + 3/4 sqrt(n - 1) times the figure.
Besides, terms below the smallest normal number are known to one subnormal step only,
and a piece is itself a sum of many.

Norms cannot show that a piece has cancelled within its own product, so that it is
known less well than its size tells. That matters only if all pieces but the wanted
one do, and the wanted one is as small for another reason: large values of the coded
operand that meet nothing but small ones of the other.

||C|| itself contains the error: the true row may be as small as ||C|| - E. So the
bound is E / (||C|| - E), and there is none where the error may be all of C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ErrorEstimate", "RowNorms"]

SAFETY = 4.0, 2.0  # times the figure: at least, and for each root of the number of terms
PRODUCT = 12.0  # roundoffs of `work` that a piece is wrong by before it is combined
UNDERFLOW = 64.0  # subnormal steps that a value of a piece may be wrong by: the root of 4096 terms

_CAREFUL_TILE = 1 << 16  # values that are measured with temporaries at a time

Block = NDArray[Any]


class RowNorms:
    """Norms of the rows of k sources and m results, gathered tile by tile.

    Parameters
    ----------
    sources, results, rows : int
        How many of each.
    divisors : ndarray, shape (m, rows), optional
        What the rows of the results are divided by once they are measured; Inf
        where they are zero.
    """

    def __init__(self, sources: int, results: int, rows: int, divisors: Block | None = None):
        self._norms = np.zeros((sources + results, rows))
        self.sources, self.results = self._norms[:sources], self._norms[sources:]
        self.divisors = divisors

    def __call__(self, rows: slice, axis: int, sources: Sequence[Block], results: Block) -> None:
        """Measure one tile (see `mixing.Watch`)."""
        norms = self._norms[:, rows]
        np.hypot(norms, row_norms([*sources, *results], axis), out=norms)
        if self.divisors is not None:
            shape = [len(results)] + [-1 if d == axis else 1 for d in range(results.ndim - 1)]
            np.divide(results, self.divisors[:, rows].reshape(shape), out=results)
            if not np.isfinite(self.divisors).all():
                np.add(results, 0.0, out=results)  # no negative zeros

    def take(
        self, squares: Block, axis: int, blocks: Sequence[Block], factors: Sequence[Block | None]
    ) -> bool:
        """Take the sums of squares of all rows (see `mixing.Watch`), computed in the dtype of the blocks.

        False if they do not tell the norm of a result. Those of a block are then measured again.
        """
        sure, norms = _known(squares, blocks), np.sqrt(squares)
        sources, results = norms[: len(blocks)], norms[len(blocks) :]
        for line, known, block, factor in zip(sources, sure, blocks, factors, strict=False):
            rows = np.flatnonzero(~known)
            pieces = -(-rows.size * block.size // block.shape[axis] // _CAREFUL_TILE)
            for some in np.array_split(rows, max(1, pieces)) if rows.size else ():
                tile = np.take(block, some, axis=axis)
                if factor is not None:
                    tile = tile * factor[some].reshape([-1 if d == axis else 1 for d in range(tile.ndim)])
                line[some] = _careful_norms(tile, axis)
        if not (sure[len(blocks) :] | (sources == 0).all(axis=0)).all():
            return False
        results[~sure[len(blocks) :]] = 0.0
        np.hypot(self._norms, norms, out=self._norms)
        return True


def _known(squares: Block, tiles: Sequence[Block]) -> Block:
    """Tell which sums of squares are good enough to take their root."""
    info = np.finfo(np.float32 if any(tile.real.itemsize < 8 for tile in tiles) else np.float64)
    # Values whose squares vanish are negligible in a sum above this.
    least = float(info.smallest_normal) * 2.0 ** (info.nmant + 20)
    known: Block = (squares > least) & np.isfinite(squares)
    return known


def row_norms(tiles: Sequence[Block], axis: int) -> Block:
    """Return the 2-norm of each row of each tile; Inf if it has NaN or Inf; 0 only for rows of zeros."""
    squares = np.empty((len(tiles), tiles[0].shape[axis]))
    for line, tile in zip(squares, tiles, strict=True):
        line[:] = _row_squares(tile, axis)
    sure = _known(squares, tiles)
    norms: Block = np.sqrt(squares)
    if not sure.all():
        for line, tile, known in zip(norms, tiles, sure, strict=True):
            rows = np.flatnonzero(~known)
            if rows.size:
                line[rows] = _careful_norms(np.take(tile, rows, axis=axis), axis)
    return norms


def _row_squares(tile: Block, axis: int) -> Block:
    if tile.dtype == np.float16:
        tile = tile.astype(np.float32)
    if axis < tile.ndim - 1:
        if axis:
            tile = tile.transpose(axis, *(d for d in range(tile.ndim) if d != axis))
        rows = tile.reshape(len(tile), -1)
        dots: Block = np.vecdot(rows, rows).real
        return dots
    axes = list(range(tile.ndim))
    parts = (tile.real, tile.imag) if tile.dtype.kind == "c" else (tile,)
    squares: Block = sum(np.einsum(part, axes, part, axes, [axis]) for part in parts)
    return squares


def _careful_norms(tile: Block, axis: int) -> Block:
    """As `row_norms`, for rows whose squares overflow or vanish."""
    others = tuple(d for d in range(tile.ndim) if d != axis)
    parts = (tile.real, tile.imag) if tile.dtype.kind == "c" else (tile,)
    largest = np.max([np.abs(part).max(axis=others) for part in parts], axis=0).astype(np.float64)
    usable = np.isfinite(largest) & (largest > 0)
    shape = [-1 if d == axis else 1 for d in range(tile.ndim)]
    unit = np.where(usable, largest, 1.0).reshape(shape)
    squares = sum(np.square(part / unit).sum(axis=others) for part in parts)
    return np.where(usable, largest * np.sqrt(squares), np.where(largest == 0, 0.0, np.inf))


@dataclass
class ErrorEstimate:
    """The worst relative error over the rows of a decoded block.

    Parameters
    ----------
    work, result : numpy.dtype
        dtype of the arithmetic and of the decoded block.
    by_row : bool
        Measure each row by itself; else the block as a whole.
    addends : int
        A value of a source is a sum of so many numbers.

    Attributes
    ----------
    worst : float
        The estimate.
    finite : bool
        No NaN or Inf was seen.
    in_range : bool
        Norms prove that no value overflows in the dtype of the result.
    """

    work: np.dtype[Any]
    result: np.dtype[Any]
    by_row: bool = True
    addends: int = 1
    worst: float = 0.0
    finite: bool = True
    in_range: bool = True
    _whole: Block = field(default_factory=lambda: np.zeros((2, 2)))

    def precision(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        """Return the unit roundoff and the smallest step of values kept in `dtype` and `work`."""
        infos = [np.finfo(self.work)]
        if dtype.kind in "fc":
            infos.append(np.finfo(dtype))
        return max(float(i.eps) for i in infos) / 2, max(float(i.smallest_subnormal) for i in infos)

    def add(
        self,
        weights: Block,
        norms: RowNorms,
        dtypes: Sequence[np.dtype[Any]],
        factors: Sequence[Block | None],
        width: int,
    ) -> None:
        """Take in some rows of the result.

        Parameters
        ----------
        weights : ndarray, shape (m, k)
            Decode weights of these rows.
        norms : RowNorms
            Norms of scaled sources and not yet rescaled results.
        dtypes, factors : sequences of k
            In which dtype each source was kept, what its rows were multiplied by.
        width : int
            Values in a row.
        """
        self.finite = self.finite and bool(np.isfinite(norms.results).all())
        if not self.finite:
            return
        with np.errstate(all="ignore"):
            scale = np.ones(norms.results.shape)
            if norms.divisors is not None:
                scale /= norms.divisors.astype(np.float64)
            errors = self._errors(weights, norms, dtypes, factors, np.sqrt(width), scale)
            absent = (scale == 0) | ~((weights != 0) @ (norms.sources > 0))
            self._take(np.where(absent, 0.0, errors), np.where(scale == 0, 0.0, norms.results), scale)
            limit = float(np.finfo(self.result).max)
            self.in_range = self.in_range and bool((norms.results * scale < limit).all())

    def _errors(
        self,
        weights: Block,
        norms: RowNorms,
        dtypes: Sequence[np.dtype[Any]],
        factors: Sequence[Block | None],
        root: float,
        scale: Block,
    ) -> Block:
        """Return the estimated absolute error of each row of the results, before rescaling."""
        known = np.empty_like(norms.sources)
        work_unit, work_step = self.precision(self.work)
        for line, norm, dtype, factor in zip(known, norms.sources, dtypes, factors, strict=True):
            unit, step = self.precision(dtype)
            least = (step + UNDERFLOW * work_step) * root
            line[:] = unit * norm + least * (1.0 if factor is None else factor.astype(np.float64))
        unit, step = self.precision(self.result)
        kept = step * root / np.where(scale == 0, 1.0, scale)
        coarse = unit * norms.results if self.result.itemsize < self.work.itemsize else 0.0
        terms = np.count_nonzero(weights, axis=1, keepdims=True)
        safety = np.maximum(SAFETY[0], SAFETY[1] * np.sqrt(terms))
        made = (PRODUCT + 0.75 * np.sqrt(self.addends - 1)) * work_unit * _spread(weights, norms.sources)
        errors: Block = safety * _spread(weights, known) + made + work_step * root + kept + coarse
        return errors

    def _take(self, errors: Block, results: Block, scale: Block) -> None:
        if self.by_row:
            relative = np.where(errors == 0, 0.0, errors / (results - errors))
            relative[~(relative >= 0)] = np.inf
            self.worst = max(self.worst, float(relative.max(initial=0.0)))
            return
        # Rescaling may let a row that is all error stand above the rest, or hide it: judge both.
        for sums, factor in zip(self._whole, (1.0, scale), strict=True):
            for place, values in enumerate((errors * factor, results * factor)):
                values = np.where(np.isnan(values), np.inf, values).ravel()
                sums[place] = np.hypot(sums[place], np.hypot.reduce(values))
        self.worst = max(_relative(error, size) for error, size in self._whole.tolist())


def _spread(weights: Block, errors: Block) -> Block:
    """Return the root of the sum of squares of weighted errors."""
    largest = errors.max(axis=0)
    shares = errors / np.where(largest > 0, largest, 1.0)
    spread: Block = np.sqrt(np.square(np.abs(weights, dtype=np.float64)) @ np.square(shares)) * largest
    return spread


def _relative(error: float, size: float) -> float:
    """Return the bound for a norm `size` that may itself be wrong by `error`."""
    if error == 0:
        return 0.0
    return error / (size - error) if size > error else np.inf
