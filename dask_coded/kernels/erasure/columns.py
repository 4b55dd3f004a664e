"""Arithmetic on the columns of an array code: rotate and add, and solve for lost ones.

All additions are XOR, so there are no signs: adding is subtracting. Work goes stripe by
stripe; a stripe of every output and the few columns of a solve stay in cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.backend import compiled
from dask_coded.kernels.erasure.adding import Adder, addresses
from dask_coded.kernels.erasure.array_code import ArrayCode, Repair
from dask_coded.kernels.erasure.buffers import Bytes
from dask_coded.kernels.erasure.checksums import RunningChecksum

__all__ = ["collect", "syndromes"]

Columns = NDArray[np.uint8]  # (columns, p rows, bytes of a row)

_BATCH = 16  # stripes between two calls of compiled kernels
_CACHE = 1 << 17  # bytes of columns that they solve for at a time


def syndromes(repair: Repair, nbytes: int) -> list[Bytes]:
    """Return zeroed arrays to `collect` sources in, one for each output of the repair."""
    size = repair.code.size(nbytes)
    return [np.zeros(size, np.uint8) for _ in repair.outputs]


def collect(
    repair: Repair,
    sums: Sequence[Bytes],
    sources: Sequence[tuple[int, Bytes]],
    nbytes: int,
    checksums: Sequence[RunningChecksum | None],
    last: bool,
    first: bool = False,
) -> None:
    """Add sources to the sums of the checks, and solve for the outputs once all are there.

    Parameters
    ----------
    repair : Repair
        What is to be got from what.
    sums : sequence of ndarray
        From `syndromes`.
    sources : sequence of (int, ndarray)
        Pieces and their bytes, each once in all; those shorter than `nbytes` count as
        padded with zeros.
    nbytes : int
        Bytes of the longest block.
    checksums : sequence of RunningChecksum or None
        One for each source, worked out on the way.
    last : bool
        No source is left after these: the sums become the outputs.
    first : bool
        None came before these: what is in the sums is overwritten.
    """
    shifts = [repair.shifts(piece) for piece, _ in sources]
    add = Adder(sums, [data for _, data in sources], shifts)
    solve = _Solver(repair, sums)
    for start, stop, unit in _batches(repair.code, nbytes, 1 if any(checksums) else _BATCH):
        for (_, data), running in zip(sources, checksums, strict=True):
            if running is not None and start < data.size:
                running.add(data[start:stop])  # one stripe
        add(start, stop, unit, repair.code.rows, first)
        if last:
            solve(start, stop, unit)


def _batches(code: ArrayCode, nbytes: int, most: int) -> Iterator[tuple[int, int, int]]:
    """Yield starts, ends and bytes of a row of up to `most` equal stripes."""
    end = nbytes - nbytes % code.stripe
    for start in range(0, end, most * code.stripe):
        yield start, min(start + most * code.stripe, end), code.stripe // code.rows
    if end < nbytes:
        yield end, code.size(nbytes), -(-(nbytes - end) // code.rows)


class _Solver:
    """Turns sums over all sources into the outputs of a repair, in place, stripe by stripe."""

    def __init__(self, repair: Repair, sums: Sequence[Bytes]):
        unknown = len(repair.points)
        shifts = [repair.shifts(piece)[unknown:] for piece in repair.erased]
        self._points = repair.points
        self._sums = sums[:unknown]
        self._others = len(sums) - unknown
        self._add_to_others = Adder(sums[unknown:], self._sums, shifts)
        self._prime = repair.code.prime
        self._space = np.empty((0, 0, 0), np.uint8)
        self._kernels = compiled("bytes")

    def __call__(self, start: int, stop: int, unit: int) -> None:
        rows = self._prime - 1
        if len(self._points) > 1:
            for begin in range(start, stop, rows * unit):
                self._solve([total[begin : begin + rows * unit] for total in self._sums], unit)
        if self._others:
            self._add_to_others(start, stop, unit, rows, first=False)

    def _solve(self, stripes: Sequence[Bytes], unit: int) -> None:
        if self._kernels is None:
            _solve_stripe(self._points, self._room(1, unit), stripes)
            return
        part = max(_CACHE // (len(self._points) * self._prime) // 64 * 64, 256)
        room = addresses(list(self._room(2, part)))
        points = np.array(self._points)
        self._kernels.solve_stripe(points, addresses(stripes), room, self._prime, unit, part)

    def _room(self, more: int, size: int) -> Columns:
        """Return columns for the unknowns and some more, the same ones as long as they fit."""
        shape = len(self._points) + more, self._prime, size
        if self._space.shape != shape:
            self._space = np.empty(shape, np.uint8)
        return self._space


def _solve_stripe(points: Sequence[int], space: Columns, stripes: Sequence[Bytes]) -> None:
    """Solve ``sum over i of x**(l * points[i]) * c[i] = stripe l`` for all c, in place.

    Bjorck and Pereyra's algorithm for Vandermonde systems. A quotient of columns is
    only defined up to a column of ones. Those still to be divided must have an even
    sum in every bit; those that are done have zeros in the last row.
    """
    columns, spare = space[:-1], space[-1]
    for column, stripe in zip(columns, stripes, strict=True):
        column[:-1] = stripe.reshape(-1, column.shape[1])
        np.bitwise_xor.reduce(column[:-1], axis=0, out=column[-1])
    # Every check has the same sum over all rows, and that of check 0 has no last row.
    columns[1:, -1] ^= columns[0, -1]
    columns[0, -1] = 0
    last = len(points) - 1
    for k in range(last):
        for i in range(last, k, -1):
            _add_rotated(columns[i], columns[i - 1], points[k])
    for k in range(last - 1, -1, -1):
        for i in range(k + 1, last + 1):
            _divide(columns[i], points[i], points[i - k - 1], spare)
            if k:
                spare ^= np.bitwise_xor.reduce(spare, axis=0)
            columns[i] = spare
        for i in range(k, last):
            columns[i] ^= columns[i + 1]
    for column, stripe in zip(columns, stripes, strict=True):
        stripe.reshape(-1, column.shape[1])[:] = column[:-1]


def _add_rotated(total: Columns, column: Columns, shift: int) -> None:
    """Add x**shift times a column of all p rows."""
    total[shift:] ^= column[: len(column) - shift]
    total[:shift] ^= column[len(column) - shift :]


def _divide(column: Columns, a: int, b: int, out: Columns) -> None:
    """Divide by ``x**a + x**b`` so that the last row becomes zero."""
    prime = len(column)
    out[-1] = 0
    place = prime - 1
    for _ in range(prime - 1):
        before, place = place, (place + b - a) % prime
        np.bitwise_xor(column[(place + a) % prime], out[before], out=out[place])
