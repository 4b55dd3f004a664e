"""Weighted sums of blocks in one pass; rows scaled and measured on the way.

A tile of every result stays in cache while tiles of the blocks pass, four at a time
and into up to three results at a time: more streams than that slow memory down, and
fewer do not fill it. Sums are associated as `signed` does it, so that sums and
differences have the same bits whichever of the two made them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_coded.kernels.compiled.jit import at, jit
from dask_coded.kernels.compiled.rows import divide, fold, measure, scale

__all__ = ["mix_segments"]

#: Of the modules that these kernels are made of too: Numba compares no more than this file with what it kept.
PARTS = "2c5067cd"

_GROUP = 8  # columns summed one after another; the sums of groups are added in pairs


@jit("contract")
def _quad(o: Any, a: Any, b: Any, c: Any, d: Any, w: Any, first: bool) -> None:
    """Add four columns to one result."""
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    if first:
        for i in range(o.size):
            o[i] = w0 * a[i] + w1 * b[i] + w2 * c[i] + w3 * d[i]
    else:
        for i in range(o.size):
            o[i] = o[i] + w0 * a[i] + w1 * b[i] + w2 * c[i] + w3 * d[i]


@jit("contract")
def _quad_to_two(o: Any, p: Any, a: Any, b: Any, c: Any, d: Any, w: Any, v: Any, first: bool) -> None:
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    v0, v1, v2, v3 = v[0], v[1], v[2], v[3]
    if first:
        for i in range(o.size):
            e, f, g, h = a[i], b[i], c[i], d[i]
            o[i] = w0 * e + w1 * f + w2 * g + w3 * h
            p[i] = v0 * e + v1 * f + v2 * g + v3 * h
    else:
        for i in range(o.size):
            e, f, g, h = a[i], b[i], c[i], d[i]
            o[i] = o[i] + w0 * e + w1 * f + w2 * g + w3 * h
            p[i] = p[i] + v0 * e + v1 * f + v2 * g + v3 * h


@jit("contract")
def _quad_to_three(
    o: Any, p: Any, q: Any, a: Any, b: Any, c: Any, d: Any, w: Any, v: Any, u: Any, first: bool
) -> None:
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    v0, v1, v2, v3 = v[0], v[1], v[2], v[3]
    u0, u1, u2, u3 = u[0], u[1], u[2], u[3]
    if first:
        for i in range(o.size):
            e, f, g, h = a[i], b[i], c[i], d[i]
            o[i] = w0 * e + w1 * f + w2 * g + w3 * h
            p[i] = v0 * e + v1 * f + v2 * g + v3 * h
            q[i] = u0 * e + u1 * f + u2 * g + u3 * h
    else:
        for i in range(o.size):
            e, f, g, h = a[i], b[i], c[i], d[i]
            o[i] = o[i] + w0 * e + w1 * f + w2 * g + w3 * h
            p[i] = p[i] + v0 * e + v1 * f + v2 * g + v3 * h
            q[i] = q[i] + u0 * e + u1 * f + u2 * g + u3 * h


@jit("contract")
def _single(o: Any, a: Any, w: Any, first: bool) -> None:
    if first:
        for i in range(o.size):
            o[i] = w * a[i]
    else:
        for i in range(o.size):
            o[i] += w * a[i]


@jit()
def _fill(sums: Any, w: Any, lines: Any, start: int, stop: int, more: bool, size: int, dtype: Any) -> None:
    """Sum the columns [start, stop) into the tiles at the addresses `sums`, up to three."""
    o = at(sums[0], size, dtype)
    j = start
    while j + 4 <= stop:
        a, b = at(lines[j], size, dtype), at(lines[j + 1], size, dtype)
        c, d = at(lines[j + 2], size, dtype), at(lines[j + 3], size, dtype)
        if sums.size == 1:
            _quad(o, a, b, c, d, w[0, j:], j == start and not more)
        elif sums.size == 2:
            _quad_to_two(o, at(sums[1], size, dtype), a, b, c, d, w[0, j:], w[1, j:], j == start and not more)
        else:
            p, q = at(sums[1], size, dtype), at(sums[2], size, dtype)
            _quad_to_three(o, p, q, a, b, c, d, w[0, j:], w[1, j:], w[2, j:], j == start and not more)
        j += 4
    while j < stop:
        for s in range(sums.size):
            _single(at(sums[s], size, dtype), at(lines[j], size, dtype), w[s, j], j == start and not more)
        j += 1


@jit()
def _combine(weights: Any, lines: Any, sums: Any, levels: Any, more: bool, size: int, dtype: Any) -> None:
    """Combine tiles at the addresses `lines` into those at `sums`; `levels` has room for partial sums."""
    columns = lines.size
    stack = np.empty((levels.shape[0] + 1, 3), np.int64)
    for first in range(0, sums.size, 3):
        count = min(3, sums.size - first)
        w = weights[first : first + count]
        for s in range(count):
            stack[0, s] = sums[first + s]
            for level in range(levels.shape[0]):
                stack[level + 1, s] = levels[level, s]
        depth = 0
        for group in range(0, columns, _GROUP):
            _fill(
                stack[depth, :count],
                w,
                lines,
                group,
                min(group + _GROUP, columns),
                more and group == 0,
                size,
                dtype,
            )
            depth += 1
            number = group // _GROUP + 1
            last = group + _GROUP >= columns
            while depth > 1 and (number % 2 == 0 or last):
                depth -= 1
                number //= 2
                for s in range(count):
                    _single(
                        at(stack[depth - 1, s], size, dtype),
                        at(stack[depth, s], size, dtype),
                        weights.dtype.type(1),
                        False,
                    )


@jit()
def mix_segments(
    weights: Any,
    places: Any,
    shape: Any,
    along: bool,
    scaling: Any,
    squares: Any,
    lines: Any,
    levels: Any,
    size: int,
    dtype: Any,
    more: bool,
) -> None:
    """Combine blocks that are walked as (outer, rows, inner).

    Parameters
    ----------
    weights : ndarray, shape (m, k)
        In `dtype`.
    places : ndarray of int64, shape (k + m, 3)
        Address of each block and each result, and its steps in bytes from one outer
        index to the next and from one row to the next.
    shape : (outer, rows, inner)
        A row of one outer index lies in one piece.
    along : bool
        A tile goes along the rows, not along one row: inner is 1 and rows follow each other.
    scaling : (factors, divisors)
        What rows of blocks are multiplied by, (k, rows), and rows of results divided by,
        (m, rows); shape (0, 0) where they are not.
    squares : ndarray, shape (k + m, rows) or (0, 0)
        Sums of squares of the scaled rows and of the results before they are divided.
    lines, levels : ndarray of int64, shapes (k,) and (depth, 3)
        Addresses of tiles for scaled blocks and for partial sums.
    size : int
        Elements of a tile.
    dtype : numpy.dtype
        Of everything but `squares`.
    more : bool
        Add to what is in the results.
    """
    outer, rows, inner = shape
    length = rows if along else inner
    sources = places.shape[0] - weights.shape[0]
    found = np.empty(places.shape[0], np.int64)
    step = weights.itemsize
    used, one = weights.copy(), weights.dtype.type(1)
    for o in range(outer):
        for row in range(1 if along else rows):
            # One pass less, where all of a tile has the same factor.
            folded = scaling[0].size > 0 and not along and fold(weights, scaling[0][:, row], used)
            if not folded:
                used[:] = weights
            for start in range(0, length, size):
                count = min(size, length - start)
                for j in range(found.size):
                    found[j] = places[j, 0] + o * places[j, 1] + row * places[j, 2] + start * step
                if scaling[0].size and not folded:
                    _gather(found[:sources], scaling[0], lines, along, row, start, count, dtype)
                _combine(used, found[:sources], found[sources:], levels, more, count, dtype)
                if squares.size:
                    # Only now: one block at a time, memory would be read at half the rate.
                    for j in range(sources):
                        factor = scaling[0][j, row] if folded else one
                        measure(at(found[j], count, dtype), factor, squares[j], along, row, start)
                _finish(found, sources, scaling[1], squares, along, row, start, count, dtype)


@jit()
def _gather(
    found: Any, factors: Any, lines: Any, along: bool, row: int, start: int, count: int, dtype: Any
) -> None:
    """Scale tiles of the blocks into `lines`."""
    for j in range(found.size):
        scale(at(lines[j], count, dtype), at(found[j], count, dtype), factors[j], along, row, start)
        found[j] = lines[j]


@jit()
def _finish(
    found: Any,
    sources: int,
    divisors: Any,
    squares: Any,
    along: bool,
    row: int,
    start: int,
    count: int,
    dtype: Any,
) -> None:
    """Measure tiles of the results, then divide their rows."""
    for s in range(found.size - sources):
        x = at(found[sources + s], count, dtype)
        if squares.size:
            measure(x, x.dtype.type(1), squares[sources + s], along, row, start)
        if divisors.size:
            divide(x, divisors[s], along, row, start)
