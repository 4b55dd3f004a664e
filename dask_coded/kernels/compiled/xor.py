"""Sums of rotated columns of an array code, and their solution, stripe by stripe.

A stripe of all columns is read from memory for the first sum, in runs as long as can be, and
from cache for the others. These have the next stripe fetched meanwhile.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_coded.kernels.compiled.jit import LINE, at, jit, prefetch, xor_byte, xor_line

__all__ = ["add_up_words", "repair_stripes"]

_BYTE, _WORD = np.dtype(np.uint8), np.dtype(np.uint64)
_FIRST_HALF, _SECOND_HALF = 1, 2  # of the rows that are added at a time: what is fetched beside them


@jit()
def add_up_words(address: int, words: int, sums: Any) -> None:
    """Put the sums of so many words into `sums`: word i goes to sum i modulo their number."""
    sums[:] = 0
    for start in range(0, words, sums.size):
        line = at(address + 8 * start, min(sums.size, words - start), _WORD)
        for i in range(line.size):
            sums[i] += line[i]


@jit()
def _xor(target: int, rows: Any, halves: Any, size: int, more: bool, ahead: int, fetch: int) -> None:
    whole = size - size % LINE
    for i in range(0, whole, LINE):
        if fetch & _FIRST_HALF:
            prefetch(halves[0], i + ahead)
        if fetch & _SECOND_HALF:
            prefetch(halves[1], i + ahead)
        if more:
            xor_line(target, (target, *rows), i)
        else:
            xor_line(target, rows, i)
    for i in range(whole, size):
        if more:
            xor_byte(target, (target, *rows), i)
        else:
            xor_byte(target, rows, i)


@jit()
def _xor_rows(target: int, rows: Any, size: int, more: bool, ahead: int, fetch: int) -> None:
    """Put the XOR of the rows at some addresses at `target`, or add it to what is there if `more`.

    The target may be the first of the rows. Meanwhile what is `ahead` bytes behind one or both
    halves of the rows is fetched.
    """
    r, j = rows, 0
    if not more and r.size == 0:
        at(target, size, _BYTE)[:] = 0
    while r.size - j >= 8:
        a, b = (r[j], r[j + 1], r[j + 2], r[j + 3]), (r[j + 4], r[j + 5], r[j + 6], r[j + 7])
        _xor(target, (*a, *b), (a, b), size, more or j > 0, ahead, fetch)
        j += 8
    if r.size - j >= 4:
        c, d = (r[j], r[j + 1]), (r[j + 2], r[j + 3])
        _xor(target, (*c, *d), (c, d), size, more or j > 0, ahead, fetch)
        j += 4
    if r.size - j >= 2:
        e, f = (r[j],), (r[j + 1],)
        _xor(target, (*e, *f), (e, f), size, more or j > 0, ahead, fetch)
        j += 2
    if r.size - j >= 1:
        g = (r[j],)
        _xor(target, g, (g, g), size, more or j > 0, ahead, fetch)


@jit()
def _add_columns(
    totals: Any, columns: Any, shifts: Any, rows: int, unit: int, first: bool, ahead: int
) -> None:
    """Add columns to sums, rotated; what is rotated to the last, imaginary row is dropped.

    Meanwhile what is `ahead` bytes behind is fetched, if not 0.
    """
    found = np.empty(columns.size, np.int64)
    rotated = 0
    for t in range(totals.size):
        if (shifts[:, t] == 0).all():
            _xor_rows(totals[t], columns, rows * unit, not first, 0, 0)
            continue
        fetch = 0
        if ahead and rotated < 2:
            fetch = (_FIRST_HALF, _SECOND_HALF)[rotated] if totals.size > 2 else _FIRST_HALF | _SECOND_HALF
        rotated += 1
        for row in range(rows):
            used = 0
            for j in range(columns.size):
                source = row - shifts[j, t] if shifts[j, t] >= 0 else rows
                source += rows + 1 if source < 0 else 0
                if source < rows:
                    found[used] = columns[j] + source * unit
                    used += 1
            _xor_rows(totals[t] + row * unit, found[:used], unit, not first, ahead, fetch)


@jit()
def _solve(columns: Any, room: int, lines: Any, rows: int, unit: int) -> None:
    """Do the XORs of a schedule: see `erasure.schedule`."""
    targets, ends, terms = lines
    where = np.empty(terms.max() + 1, np.int64)
    for number in range(where.size):
        column, row = divmod(number, rows + 1)
        if row < rows and column < columns.size:
            where[number] = columns[column] + row * unit
        else:
            where[number] = room
            room += unit
    found, start = np.empty(ends.size, np.int64), 0
    for line in range(targets.size):
        count = ends[line] - start
        for j in range(count):
            found[j] = where[terms[start + j]]
        _xor_rows(where[targets[line]], found[:count], unit, False, 0, 0)
        start = ends[line]


@jit()
def repair_stripes(
    totals: Any, columns: Any, shifts: Any, plan: Any, room: int, shape: Any, first: bool, last: bool
) -> None:
    """Add columns to sums and solve for the lost ones, stripe by stripe.

    Parameters
    ----------
    totals, columns : ndarray of int64
        Addresses of stripes.
    shifts : ndarray of int64, shape (columns, totals)
        By how many rows each column is rotated for each sum, -1 if it is not in it.
    plan : (unknown, (targets, ends, terms), shifts)
        How many of the first sums are unknown columns; how they are solved for: the XOR of the rows
        ``terms[ends[i - 1] : ends[i]]`` goes to row ``targets[i]``; and by how many rows each
        is rotated for the other sums, once known.
    room : int
        Address of the rows that are in no column.
    shape : (rows, unit, count)
        Rows of a column, bytes of a row, and stripes that follow each other.
    first, last : bool
        Nothing is in the sums yet; the sums are complete.
    """
    unknown, lines, shifts_of_solved = plan
    rows, unit, count = shape
    for start in range(0, count * rows * unit, rows * unit):
        here = totals + start
        ahead = rows * unit if start + rows * unit < count * rows * unit else 0
        _add_columns(here, columns + start, shifts, rows, unit, first, ahead)
        if last and unknown > 1:
            _solve(here[:unknown], room, lines, rows, unit)
        if last and unknown < here.size:
            _add_columns(here[unknown:], here[:unknown], shifts_of_solved, rows, unit, False, 0)
