"""Sums of rotated columns of an array code, and their solution, stripe by stripe.

Each row of a sum is written once. To solve, stripes are cut across their rows, so that a
few KiB of every row stay in cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_coded.kernels.compiled.jit import at, jit

__all__ = ["add_up_words", "repair_stripes"]

_BYTE, _WORD = np.dtype(np.uint8), np.dtype(np.uint64)
_PART = 1 << 16  # bytes of a row that are worked on at a time


@jit()
def add_up_words(address: int, words: int, sums: Any) -> None:
    """Put the sums of so many words into `sums`: word i goes to sum i modulo their number."""
    sums[:] = 0
    for start in range(0, words, sums.size):
        line = at(address + 8 * start, min(sums.size, words - start), _WORD)
        for i in range(line.size):
            sums[i] += line[i]


@jit()
def _xor_four(total: Any, a: Any, b: Any, c: Any, d: Any, first: bool) -> None:
    if first:
        for i in range(total.size):
            total[i] = a[i] ^ b[i] ^ c[i] ^ d[i]
    else:
        for i in range(total.size):
            total[i] ^= a[i] ^ b[i] ^ c[i] ^ d[i]


@jit()
def _xor_one(total: Any, a: Any) -> None:
    for i in range(total.size):
        total[i] ^= a[i]


@jit()
def _xor_all(total: int, found: Any, size: int, first: bool) -> None:
    """Add what lies at the addresses `found`; `first` if nothing is at `total` yet."""
    sums = at(total, size, _BYTE)
    j = 0
    while j + 4 <= found.size:
        a, b = at(found[j], size, _BYTE), at(found[j + 1], size, _BYTE)
        c, d = at(found[j + 2], size, _BYTE), at(found[j + 3], size, _BYTE)
        _xor_four(sums, a, b, c, d, first and j == 0)
        j += 4
    if first and j == 0:
        sums[:] = 0
    while j < found.size:
        _xor_one(sums, at(found[j], size, _BYTE))
        j += 1


@jit()
def _add_columns(totals: Any, columns: Any, shifts: Any, rows: int, unit: int, first: bool) -> None:
    """Add columns to sums, rotated; what is rotated to the last, imaginary row is dropped."""
    found = np.empty(columns.size, np.int64)
    for t in range(totals.size):
        for row in range(rows):
            used = 0
            for j in range(columns.size):
                source = row - shifts[j, t] if shifts[j, t] >= 0 else rows
                source += rows + 1 if source < 0 else 0
                if source < rows:
                    found[used] = columns[j] + source * unit
                    used += 1
            for start in range(0, unit, _PART):
                size = min(_PART, unit - start)
                _xor_all(totals[t] + row * unit + start, found[:used] + start, size, first)


@jit()
def _add_row(total: int, a: int, size: int) -> None:
    _xor_one(at(total, size, _BYTE), at(a, size, _BYTE))


@jit()
def _copy_row(target: int, a: int, size: int) -> None:
    to, source = at(target, size, _BYTE), at(a, size, _BYTE)
    for i in range(size):
        to[i] = source[i]


@jit()
def _add_rotated(total: int, column: int, p: int, shift: int, pitch: int, size: int) -> None:
    """Add x**shift times a column of all p rows."""
    for row in range(p):
        _add_row(total + (row + shift) % p * pitch, column + row * pitch, size)


@jit()
def _add_up(total: int, column: int, rows: int, pitch: int, size: int) -> None:
    """Put the sum of the rows of a column at `total`."""
    at(total, size, _BYTE)[:] = 0
    for row in range(rows):
        _add_row(total, column + row * pitch, size)


@jit()
def _divide(column: int, out: int, p: int, a: int, b: int, pitch: int, size: int) -> None:
    """Divide by ``x**a + x**b`` so that the last row becomes zero."""
    at(out + (p - 1) * pitch, size, _BYTE)[:] = 0
    place = p - 1
    for _ in range(p - 1):
        before, place = place, (place + b - a) % p
        to, last = at(out + place * pitch, size, _BYTE), at(out + before * pitch, size, _BYTE)
        source = at(column + (place + a) % p * pitch, size, _BYTE)
        for i in range(size):
            to[i] = source[i] ^ last[i]


@jit()
def _solve(points: Any, columns: Any, p: int, pitch: int, size: int) -> None:
    """Bjorck and Pereyra's algorithm: see `erasure.stripes`; the last two columns are room."""
    last = points.size - 1
    spare, sums = last + 1, columns[last + 2]
    for k in range(last):
        for i in range(last, k, -1):
            _add_rotated(columns[i], columns[i - 1], p, points[k], pitch, size)
    for k in range(last - 1, -1, -1):
        for i in range(k + 1, last + 1):
            _divide(columns[i], columns[spare], p, points[i], points[i - k - 1], pitch, size)
            columns[i], columns[spare] = columns[spare], columns[i]
            if k:
                _add_up(sums, columns[i], p, pitch, size)
                for row in range(p):
                    _add_row(columns[i] + row * pitch, sums, size)
        for i in range(k, last):
            _add_rotated(columns[i], columns[i + 1], p, 0, pitch, size)


@jit()
def _solve_stripe(points: Any, stripes: Any, space: Any, rows: int, unit: int, pitch: int) -> None:
    """Solve ``sum over i of x**(l * points[i]) * c[i] = stripe l`` for all c, in place."""
    for start in range(0, unit, pitch):
        size = min(pitch, unit - start)
        columns = space.copy()
        for c in range(points.size):
            for row in range(rows):
                _copy_row(columns[c] + row * pitch, stripes[c] + row * unit + start, size)
            _add_up(columns[c] + rows * pitch, columns[c], rows, pitch, size)
        for c in range(points.size - 1, -1, -1):
            # Every check has the same sum over all rows, and that of check 0 has no last row.
            _add_row(columns[c] + rows * pitch, columns[0] + rows * pitch, size)
        _solve(points, columns, rows + 1, pitch, size)
        for c in range(points.size):
            for row in range(rows):
                _copy_row(stripes[c] + row * unit + start, columns[c] + row * pitch, size)


@jit()
def repair_stripes(
    totals: Any, columns: Any, shifts: Any, plan: Any, room: Any, shape: Any, first: bool, last: bool
) -> None:
    """Add columns to sums and solve for the lost ones, stripe by stripe.

    Parameters
    ----------
    totals, columns : ndarray of int64
        Addresses of stripes.
    shifts : ndarray of int64, shape (columns, totals)
        By how many rows each column is rotated for each sum, -1 if it is not in it.
    plan : (points, shifts)
        Exponents of the unknowns, which are the first sums, and by how many rows each is
        rotated for the other sums, once known.
    room : ndarray of int64
        Addresses of two columns more than unknowns, all with the imaginary row.
    shape : (rows, unit, count, part)
        Rows of a column, bytes of a row, stripes that follow each other, and bytes of a
        row in the columns of `room`.
    first, last : bool
        Nothing is in the sums yet; the sums are complete.
    """
    points, shifts_of_solved = plan
    rows, unit, count, part = shape
    unknown = points.size
    for start in range(0, count * rows * unit, rows * unit):
        here = totals + start
        _add_columns(here, columns + start, shifts, rows, unit, first)
        if last and unknown > 1:
            _solve_stripe(points, here[:unknown], room, rows, unit, part)
        if last and unknown < here.size:
            _add_columns(here[unknown:], here[:unknown], shifts_of_solved, rows, unit, False)
