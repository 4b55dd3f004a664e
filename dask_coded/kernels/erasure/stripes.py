"""Stripes of an array code with NumPy: add rotated columns to sums, and solve for lost ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.erasure.array_code import Repair
from dask_coded.kernels.erasure.buffers import Bytes

__all__ = ["Stripes"]

Columns = NDArray[np.uint8]  # (columns, p rows, bytes of a row)
Shifts = Sequence[int | None]


class Stripes:
    """What is got from what, and where it lies.

    Parameters
    ----------
    repair : Repair
        What is to be got from what.
    sums : sequence of ndarray
        One for each output.
    sources : sequence of (int, ndarray)
        Pieces and their bytes; those shorter than the sums count as padded with zeros.
    """

    def __init__(self, repair: Repair, sums: Sequence[Bytes], sources: Sequence[tuple[int, Bytes]]):
        self._sums, self._data = sums, [data for _, data in sources]
        self._shifts = [repair.shifts(piece) for piece, _ in sources]
        self._points, self._prime = repair.points, repair.code.prime
        self._shifts_of_solved = [repair.shifts(piece)[len(self._points) :] for piece in repair.erased]
        self._space = np.empty((0, 0, 0), np.uint8)

    def repair(self, start: int, stop: int, unit: int, first: bool, last: bool) -> None:
        """Add the bytes [start, stop) of all sources, in stripes of rows of `unit` bytes.

        `first` if nothing is in the sums yet, `last` to turn them into the outputs.
        """
        size = (self._prime - 1) * unit
        for begin in range(start, stop, size):
            stripes = [total[begin : begin + size] for total in self._sums]
            columns = [data[begin : begin + size] for data in self._data]
            _add_columns(stripes, columns, self._shifts, unit, first)
            if last:
                self._solve(stripes, unit)

    def _solve(self, stripes: Sequence[Bytes], unit: int) -> None:
        unknown = len(self._points)
        if unknown > 1:
            shape = unknown + 1, self._prime, unit
            if self._space.shape != shape:
                self._space = np.empty(shape, np.uint8)
            _solve_stripe(self._points, self._space, stripes[:unknown])
        _add_columns(stripes[unknown:], stripes[:unknown], self._shifts_of_solved, unit, first=False)


def _add_columns(
    totals: Sequence[Bytes], columns: Sequence[Bytes], shifts: Sequence[Shifts], unit: int, first: bool
) -> None:
    """Add columns to sums, one after another while each is in cache."""
    alone: list[Bytes | None] = [None] * len(totals)  # first columns, to be added to the second ones
    empty = [first] * len(totals)
    for column, places in zip(columns, shifts, strict=True):
        for t, (total, shift) in enumerate(zip(totals, places, strict=True)):
            if shift is None or not column.size:
                continue
            straight, other = shift == 0 and column.size == total.size, alone[t]
            alone[t] = None
            if empty[t] and straight:
                alone[t] = column
            elif other is not None and straight:
                np.bitwise_xor(other, column, out=total)
            else:
                if other is not None:
                    np.copyto(total, other)
                _add(total, column, shift * unit, unit, empty[t])
            empty[t] = False
    for total, other, none in zip(totals, alone, empty, strict=True):
        if other is not None:
            np.copyto(total, other)
        elif none:
            total.fill(0)


def _add(total: Bytes, column: Bytes, shift: int, unit: int, first: bool) -> None:
    """Add a column rotated by `shift` bytes; what is rotated to the last, imaginary row is dropped."""
    ahead = column[: total.size - shift]
    behind = column[total.size - shift + unit :] if shift else column[:0]
    if first:
        total[: behind.size] = behind
        total[behind.size : shift] = 0
        total[shift : shift + ahead.size] = ahead
        total[shift + ahead.size :] = 0
        return
    place = total[shift : shift + ahead.size]
    np.bitwise_xor(place, ahead, out=place)
    if behind.size:
        place = total[: behind.size]
        np.bitwise_xor(place, behind, out=place)


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
