"""Stripes of an array code with NumPy: add rotated columns to sums, and solve for lost ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.erasure.array_code import Repair
from dask_coded.kernels.erasure.buffers import Bytes
from dask_coded.kernels.erasure.schedule import Line, schedule

__all__ = ["Stripes"]

Rows = NDArray[np.uint8]  # (stripes, bytes)
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
        self._code, self._unknown = repair.code, len(repair.points)
        self._shifts = [repair.shifts(piece) for piece, _ in sources]
        self._schedule = schedule(repair.points, repair.code.prime)
        self._shifts_of_solved = [repair.shifts(piece)[self._unknown :] for piece in repair.erased]
        self._room = np.empty((0, 0, 0), np.uint8)

    def repair(self, start: int, stop: int, unit: int, first: bool, last: bool) -> None:
        """Add the bytes [start, stop) of all sources, in stripes of rows of `unit` bytes.

        `first` if nothing is in the sums yet, `last` to turn them into the outputs.
        """
        size = self._code.rows * unit
        step = max(1, self._code.tile // size) * size
        for begin in range(start, stop, step):
            end = min(begin + step, stop)
            if any(begin < data.size < end for data in self._data):
                for alone in range(begin, end, size):
                    self._repair(alone, alone + size, unit, first, last)
            else:
                self._repair(begin, end, unit, first, last)

    def _repair(self, start: int, stop: int, unit: int, first: bool, last: bool) -> None:
        """Do so for stripes that are as many for each source."""
        shape = (stop - start) // (self._code.rows * unit), -1
        sums = [total[start:stop].reshape(shape) for total in self._sums]
        there = [j for j, data in enumerate(self._data) if data.size > start]
        columns = [self._data[j][start:stop].reshape(shape) for j in there]
        _add_columns(sums, columns, [self._shifts[j] for j in there], unit, first)
        if last:
            unknown = self._unknown
            _run(self._schedule.lines, self._rows(sums[:unknown], unit))
            _add_columns(sums[unknown:], sums[:unknown], self._shifts_of_solved, unit, first=False)

    def _rows(self, columns: Sequence[Rows], unit: int) -> list[Rows]:
        """Return the rows of the schedule: those of the columns and room for more."""
        if not self._schedule.lines:
            return []
        more = self._schedule.rows - self._unknown * self._code.rows
        shape = more, len(columns[0]), unit
        if self._room.shape != shape:
            self._room = np.empty(shape, np.uint8)
        room, rows = iter(self._room), list[Rows]()
        for column in columns:
            rows += (column[:, at : at + unit] for at in range(0, column.shape[1], unit))
            rows.append(next(room))
        return [*rows, *room]


def _run(lines: Sequence[Line], rows: Sequence[Rows]) -> None:
    for target, sources in lines:
        total = rows[target]
        if not sources:
            total.fill(0)
        elif len(sources) == 1:
            np.copyto(total, rows[sources[0]])
        else:
            np.bitwise_xor(rows[sources[0]], rows[sources[1]], out=total)
            for more in sources[2:]:
                np.bitwise_xor(total, rows[more], out=total)


def _add_columns(
    totals: Sequence[Rows], columns: Sequence[Rows], shifts: Sequence[Shifts], unit: int, first: bool
) -> None:
    """Add columns to sums, one after another while each is in cache."""
    alone: list[Rows | None] = [None] * len(totals)  # first columns, to be added to the second ones
    empty = [first] * len(totals)
    for column, places in zip(columns, shifts, strict=True):
        for t, (total, shift) in enumerate(zip(totals, places, strict=True)):
            if shift is None:
                continue
            straight, other = shift == 0 and column.shape == total.shape, alone[t]
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


def _add(total: Rows, column: Rows, shift: int, unit: int, first: bool) -> None:
    """Add a column rotated by `shift` bytes; what is rotated to the last, imaginary row is dropped."""
    size = total.shape[1]
    ahead = column[:, : size - shift]
    behind = column[:, size - shift + unit :] if shift else column[:, :0]
    end_of_ahead, end_of_behind = shift + ahead.shape[1], behind.shape[1]
    if first:
        total[:, :end_of_behind] = behind
        total[:, end_of_behind:shift] = 0
        total[:, shift:end_of_ahead] = ahead
        total[:, end_of_ahead:] = 0
        return
    place = total[:, shift:end_of_ahead]
    np.bitwise_xor(place, ahead, out=place)
    if end_of_behind:
        place = total[:, :end_of_behind]
        np.bitwise_xor(place, behind, out=place)
