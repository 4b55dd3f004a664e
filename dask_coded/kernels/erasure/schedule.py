"""How lost columns are solved for: a list of XORs of rows, the same for every stripe.

A line ``(t, (a, b, ..))`` puts the XOR of rows a, b, .. in row t, which may be one of them;
without any it puts zeros there. Rows of lost column c are c * p .. c * p + p - 1: first the
sum of check c, at the end the column. The last, imaginary row of each, and the rows behind
all columns, are room. To rotate a column costs nothing: its rows are found elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

__all__ = ["Line", "Schedule", "schedule"]

Line = tuple[int, tuple[int, ...]]
Column = list[int | None]  # where its rows are; None is a row of zeros


@dataclass(frozen=True)
class Schedule:
    """XORs of rows.

    Parameters
    ----------
    lines : tuple of (int, tuple of int)
        In the order in which they are to be done.
    rows : int
        Number of rows, with the room behind the columns.
    """

    lines: tuple[Line, ...]
    rows: int


@lru_cache(1024)
def schedule(points: tuple[int, ...], prime: int) -> Schedule:
    """Solve ``sum over i of x**(l * points[i]) * column i = sum l`` for all columns.

    Parameters
    ----------
    points : tuple of int
        Of each lost column, all different modulo `prime`. The checks are 0, 1, 2, ..
    prime : int
        The prime p: a column has p - 1 rows and the imaginary one.

    Returns
    -------
    Schedule
    """
    lost = len(points)
    work = _Work(prime, lost)
    if lost == 2:
        work.zigzag(*points)
    elif lost > 2:
        work.complete()
        work.solve(points)
    work.put_in_place()
    return Schedule(tuple(_needed(work.lines, lost, prime)), work.rows)


class _Work:
    """Lines written so far, and where the rows of the columns are after them."""

    def __init__(self, prime: int, lost: int):
        self.prime, self.rows = prime, prime * lost
        self.lines: list[Line] = []
        self.columns: list[Column] = [[*range(c * prime, (c + 1) * prime - 1), None] for c in range(lost)]
        self.free = [(c + 1) * prime - 1 for c in range(lost)]

    def zigzag(self, a: int, b: int) -> None:
        """Solve for two columns from both ends of the diagonals, without the one that is not stored.

        Row m of sum 1 is ``first[m - a] + second[m - b]``, and row i of sum 0 ``first[i] + second[i]``.
        Each column lacks one of the diagonals: there the other one can be read off.
        """
        p, (rows, diagonals) = self.prime, self.columns
        second: Column = [None] * p
        known: tuple[int | None, ...] = ()
        m = (a - 1) % p
        while m != p - 1:
            i = (m - b) % p
            second[i] = diagonals[m]
            self._xor(second[i], second[i], *known)
            self._xor(rows[i], rows[i], second[i])
            m, known = (i + a) % p, (rows[i],)
        m, known = (b - 1) % p, ()
        while m != p - 1:
            i = (m - a) % p
            second[i] = diagonals[m]
            self._xor(second[i], second[i], rows[i], *known)
            self._xor(rows[i], rows[i], second[i])
            m, known = (i + b) % p, (second[i],)
        self.columns[1] = second

    def complete(self) -> None:
        """Compute the last rows of the sums: the XOR of all rows is the same for each, and sum 0 has none."""
        whole = self._sum(self.columns[0])
        for column in self.columns[1:]:
            column[-1] = self._sum([*column, whole])
        self.free.append(whole)

    def solve(self, points: Sequence[int]) -> None:
        """Do Bjorck and Pereyra's algorithm for Vandermonde systems.

        A quotient of columns is only defined up to a column of ones. Those still to be divided
        must have an even sum in every bit; those that are done have zeros in the last row.
        """
        columns, last = self.columns, len(points) - 1
        for k in range(last):
            for i in range(last, k, -1):
                self._add(columns[i], columns[i - 1], points[k])
        for k in range(last - 1, -1, -1):
            for i in range(k + 1, last + 1):
                columns[i] = self._divide(columns[i], points[i], points[i - k - 1])
                if k:
                    self._make_even(columns[i])
            for i in range(k, last):
                self._add(columns[i], columns[i + 1], 0)

    def put_in_place(self) -> None:
        """Move rows to where the columns are to be."""
        p = self.prime
        wanted = {c * p + i: column[i] for c, column in enumerate(self.columns) for i in range(p - 1)}
        moves = {to: row for to, row in wanted.items() if row not in (to, None)}
        while moves:
            read = set(moves.values())
            to = next((to for to in moves if to not in read), None)
            if to is None:  # circles only: open one
                to, spare = next(iter(moves)), self._room()
                self._xor(spare, to)
                moves = {other: spare if row == to else row for other, row in moves.items()}
            self._xor(to, moves.pop(to))
        for to, row in wanted.items():
            if row is None:
                self._xor(to)

    def _xor(self, target: int | None, *sources: int | None) -> None:
        assert target is not None
        there = tuple(row for row in sources if row is not None)
        if there != (target,):
            self.lines.append((target, there))

    def _room(self) -> int:
        if not self.free:
            self.free.append(self.rows)
            self.rows += 1
        return self.free.pop()

    def _sum(self, rows: Sequence[int | None]) -> int:
        total = self._room()
        self._xor(total, *rows)
        return total

    def _add(self, total: Column, column: Column, shift: int) -> None:
        """Add x**shift times a column."""
        for i, row in enumerate(column):
            place = (i + shift) % self.prime
            if row is not None:
                before = total[place]
                total[place] = self._room() if before is None else before
                self._xor(total[place], before, row)

    def _divide(self, column: Column, a: int, b: int) -> Column:
        """Divide by ``x**a + x**b`` so that the last row becomes zero."""
        p = self.prime
        found: Column = [None] * p
        unused = column[(p - 1 + a) % p]  # what makes the sum even: the others tell it
        for before, place in pairwise((p - 1 + (b - a) * step) % p for step in range(p)):
            row = column[(place + a) % p]
            found[place] = self._room() if row is None else row
            self._xor(found[place], row, found[before])
        if unused is not None:
            self.free.append(unused)
        return found

    def _make_even(self, column: Column) -> None:
        """Add a column of ones times the XOR of all rows to one whose last row is zero."""
        total = self._sum(column)
        for row in column[:-1]:
            self._xor(row, row, total)
        column[-1] = total


def _needed(lines: Sequence[Line], lost: int, prime: int) -> list[Line]:
    """Return the lines that the columns depend on."""
    live = {c * prime + i for c in range(lost) for i in range(prime - 1)}
    kept = []
    for target, sources in reversed(lines):
        if target in live:
            kept.append((target, sources))
            live.remove(target)
            live.update(sources)
    return kept[::-1]
