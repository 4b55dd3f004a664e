"""Arithmetic on the columns of an array code: rotate and add, and solve for lost ones.

All additions are XOR, so there are no signs: adding is subtracting. Work goes stripe by
stripe; a stripe of every output and the few columns of a solve stay in cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.devices import device_of
from dask_coded.kernels.erasure.array_code import Repair
from dask_coded.kernels.erasure.buffers import Bytes
from dask_coded.kernels.erasure.checksums import RunningChecksum

__all__ = ["collect", "syndromes"]

Columns = NDArray[np.uint8]  # (columns, p rows, bytes of a row)


def syndromes(repair: Repair, nbytes: int, like: Bytes | None = None) -> list[Bytes]:
    """Return zeroed arrays to `collect` sources in, one for each output of the repair, where `like` is."""
    if (device := device_of([like])) is not None:
        zeros: list[Bytes] = device.syndromes(repair, nbytes, like)
        return zeros
    size = repair.code.size(nbytes)
    return [np.zeros(size, np.uint8) for _ in repair.outputs]


def collect(
    repair: Repair,
    sums: list[Bytes],
    sources: Sequence[tuple[int, Bytes]],
    nbytes: int,
    checksums: Sequence[RunningChecksum],
    last: bool,
) -> None:
    """Add sources to the sums of the checks, and solve for the outputs once all are there.

    Parameters
    ----------
    repair : Repair
        What is to be got from what.
    sums : list of ndarray
        From `syndromes`.
    sources : sequence of (int, ndarray)
        Pieces and their bytes, each once in all; those shorter than `nbytes` count as
        padded with zeros.
    nbytes : int
        Bytes of the longest block.
    checksums : sequence of RunningChecksum
        One for each source, worked out on the way.
    last : bool
        No source is left after these: the sums become the outputs.
    """
    if (device := device_of(sums)) is not None:
        device.collect(repair, sums, sources, nbytes, checksums, last)
        return
    shifts = [repair.shifts(piece) for piece, _ in sources]
    solve = _Solver(repair)
    for start, unit in repair.code.stripes(nbytes):
        stop = start + repair.code.rows * unit
        stripes = [total[start:stop] for total in sums]
        for (_, data), places, running in zip(sources, shifts, checksums, strict=True):
            column = data[start:stop]
            if column.size:
                running.add(column)
                _add_to_all(stripes, column, places, unit)
        if last:
            solve(stripes, unit)


class _Solver:
    """Turns sums over all sources into the outputs of a repair, in place, stripe by stripe."""

    def __init__(self, repair: Repair):
        self._points = repair.points
        self._shifts = [repair.shifts(piece)[len(repair.erased) :] for piece in repair.erased]
        self._prime = repair.code.prime
        self._space = np.empty((0, 0, 0), np.uint8)

    def __call__(self, stripes: Sequence[Bytes], unit: int) -> None:
        unknown = len(self._points)
        if unknown > 1:
            shape = unknown + 1, self._prime, unit
            if self._space.shape != shape:
                self._space = np.empty(shape, np.uint8)
            _solve_stripe(self._points, self._space, stripes[:unknown])
        for column, places in zip(stripes[:unknown], self._shifts, strict=True):
            _add_to_all(stripes[unknown:], column, places, unit)


def _add_to_all(totals: Sequence[Bytes], column: Bytes, shifts: Sequence[int | None], unit: int) -> None:
    for total, shift in zip(totals, shifts, strict=True):
        if shift is not None:
            _add(total, column, shift * unit, unit)


def _add(total: Bytes, column: Bytes, shift: int, unit: int) -> None:
    """Add a column rotated by `shift` bytes; what is rotated to the last, imaginary row is dropped."""
    first = column[: total.size - shift]
    place = total[shift : shift + first.size]
    np.bitwise_xor(place, first, out=place)
    rest = column[total.size - shift + unit :] if shift else column[:0]
    place = total[: rest.size]
    np.bitwise_xor(place, rest, out=place)


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
