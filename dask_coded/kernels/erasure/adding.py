"""Adding rotated columns to sums, stripe by stripe: with NumPy, or with compiled kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.backend import compiled
from dask_coded.kernels.erasure.buffers import Bytes

__all__ = ["Adder", "addresses"]

Shifts = Sequence[int | None]


def addresses(arrays: Sequence[Bytes]) -> NDArray[np.int64]:
    """Return where arrays lie in memory."""
    return np.array([array.ctypes.data for array in arrays], np.int64)


class Adder:
    """Adds columns to sums, each rotated as is said for both.

    Parameters
    ----------
    totals, columns : sequence of ndarray
        Contiguous; columns may be shorter, as if padded with zeros.
    shifts : sequence of sequences
        For each column by how many rows it is rotated for each sum, None if it is not in it.
    """

    def __init__(self, totals: Sequence[Bytes], columns: Sequence[Bytes], shifts: Sequence[Shifts]):
        self._totals, self._columns, self._shifts = totals, columns, shifts
        self._kernels = compiled("bytes") if totals else None
        if self._kernels is not None:
            self._places = addresses(totals), addresses(columns)
            table = [[-1 if shift is None else shift for shift in each] for each in shifts]
            self._table = np.array(table, np.int64).reshape(len(columns), len(totals))

    def __call__(self, start: int, stop: int, unit: int, rows: int, first: bool) -> None:
        """Add the bytes [start, stop): stripes of some rows of `unit` bytes.

        `first` if nothing is in the sums yet.
        """
        rest = [column.size > start for column in self._columns]
        if self._kernels is not None:
            whole = np.array([column.size >= stop for column in self._columns], bool)
            if whole.any():
                (totals, columns), count = self._places, (stop - start) // (rows * unit)
                where = columns[whole] + start
                self._kernels.xor_stripes(totals + start, where, self._table[whole], rows, unit, count, first)
                rest, first = (np.array(rest, bool) & ~whole).tolist(), False
        if first or any(rest):
            for begin in range(start, stop, rows * unit):
                self._add_numpy(rest, begin, begin + rows * unit, unit, first)

    def _add_numpy(self, which: Sequence[bool], start: int, stop: int, unit: int, first: bool) -> None:
        """Add the bytes [start, stop) of some columns, one after another while each is in cache."""
        stripes = [total[start:stop] for total in self._totals]
        empty = [first] * len(stripes)
        for wanted, data, shifts in zip(which, self._columns, self._shifts, strict=True):
            column = data[start:stop]
            if wanted and column.size:
                for t, (stripe, shift) in enumerate(zip(stripes, shifts, strict=True)):
                    if shift is not None:
                        _add(stripe, column, shift * unit, unit, empty[t])
                        empty[t] = False
        for stripe, left in zip(stripes, empty, strict=True):
            if left:
                stripe.fill(0)


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
