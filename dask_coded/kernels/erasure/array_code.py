"""XOR-only array codes: any k of k + r pieces yield all the others, in every bit.

A piece is a column of p - 1 bytes (in practice of p - 1 runs of bytes), p a prime; an
imaginary last row is zero. Rows are the coefficients of a polynomial over GF(2) modulo
x**p - 1, so multiplying by x**s only rotates a column. Columns satisfy parity checks

    check l = 0, 1, ..:     sum over columns j of   x**(l * j) * column j   =   right side l

    up to 3 parities        columns: blocks and the first parity, which is the XOR of the
                            blocks; check 0 has right side 0, and the right sides of checks
                            1 and 2 are the other parities (r = 2: row-diagonal parity)
    more parities           columns: blocks and all parities; all right sides are 0

    p = 5, r = 2:  b0  b1  b2   XOR  diagonal        number = diagonal; rotated by j,
                    0   1   2    3      0            rows of check 1 are its diagonals
                    1   2   3    4      1            (4 is not stored: the sum over all
                    2   3   4    0      2            diagonals is zero, as that of
                    3   4   0    1      3            the rows is)

Lost columns are the unknowns of a Vandermonde system over that ring. The first parity
as plain XOR makes the repair of one lost block the cheapest possible; with four and more
this would not be decodable for every p, so there all parities are columns.

References
----------
P. Corbett et al., "Row-Diagonal Parity for Double Disk Failure Correction", FAST 2004.
M. Blaum, "A Family of MDS Array Codes with Minimal Number of Encoding Operations", ISIT 2006.
M. Blaum, R. M. Roth, "New Array Codes for Multiple Phased Burst Correction", IEEE Trans.
Inform. Theory 39, 1993.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count

from dask_coded.errors import NotDecodable

__all__ = ["ArrayCode", "Repair"]

# Bytes, from measurements: a stripe of all blocks stays in cache until each parity has read it, but
# NumPy takes a microsecond more where it walks several of them in one call.
_STRIPES = 1 << 22
_SHORTEST, _LONGEST = 1 << 18, 1 << 20
_TILE = 1 << 20  # bytes of the stripes that are worked on in one go
_MOST_RIGHT_SIDES = 2  # parities besides the XOR that may be right sides, for every prime


@dataclass(frozen=True)
class ArrayCode:
    """Which bytes of which pieces belong together. Pieces 0..k-1 are blocks, k..k+r-1 parity.

    Parameters
    ----------
    k : int
        Number of blocks, 1 or more.
    r : int
        Number of parity pieces, 1 or more.
    """

    k: int
    r: int

    def __post_init__(self) -> None:
        if self.k < 1 or self.r < 1:
            raise ValueError(f"k={self.k}, r={self.r}: give 1 or more blocks and 1 or more parities")

    @property
    def n(self) -> int:
        """Number of pieces."""
        return self.k + self.r

    @cached_property
    def columns(self) -> int:
        """Number of pieces that are columns; the others are right sides of checks."""
        return self.k + (1 if self.r - 1 <= _MOST_RIGHT_SIDES else self.r)

    @cached_property
    def prime(self) -> int:
        """The prime p: columns have p - 1 rows."""
        least = 2 if self.r == 1 else max(3, self.columns)
        return next(p for p in count(least) if self.r == 1 or all(p % d for d in range(2, p)))

    @property
    def rows(self) -> int:
        """Rows of a column."""
        return self.prime - 1

    @cached_property
    def stripe(self) -> int:
        """Bytes of a piece that are coded by themselves; what is behind the last whole stripe is one too."""
        most = min(max(_STRIPES // self.k, _SHORTEST), _LONGEST)
        return self.rows * max(64, most // self.rows // 64 * 64)

    @cached_property
    def tile(self) -> int:
        """Bytes of a piece that are worked on in one go, and have sums of their own in its checksum."""
        return self.stripe * max(1, _TILE // self.stripe)

    def runs(self, nbytes: int) -> Iterator[tuple[int, int, int]]:
        """Cut pieces of `nbytes` in stripes: yield where equal ones start, how many, and bytes of a row."""
        count, rest = divmod(nbytes, self.stripe)
        if count:
            yield 0, count, self.stripe // self.rows
        if rest:
            yield nbytes - rest, 1, -(-rest // self.rows)

    def size(self, nbytes: int) -> int:
        """Return the bytes of a parity piece of blocks of at most `nbytes`: less than p - 1 more."""
        rest = nbytes % self.stripe
        return nbytes - rest + -(-rest // self.rows) * self.rows

    def check_of(self, piece: int) -> int | None:
        """Return the check whose right side a piece is, None for a column."""
        return None if piece < self.columns else piece - self.k

    def shift(self, piece: int, check: int) -> int | None:
        """Return by how many rows a piece is rotated in a check, None if it is not in it."""
        own = self.check_of(piece)
        if own is not None:
            return 0 if own == check else None
        return check * piece % self.prime

    def source(self, row: int, shift: int | None) -> int | None:
        """Return which row of a piece a rotation brings to `row`, None for the imaginary or no rotation."""
        found = self.rows if shift is None else (row - shift) % self.prime
        return found if found < self.rows else None

    def repair(self, have: Collection[int], wanted: Collection[int], damaged: Collection[int] = ()) -> Repair:
        """Plan how to get pieces from others.

        Parameters
        ----------
        have : collection of int
            Pieces that may be read.
        wanted : collection of int
            Pieces that are needed; not read even if they are there.
        damaged : collection of int
            Pieces that are there and not to be used: for the text of the error.

        Raises
        ------
        NotDecodable
            If fewer than k pieces are left.
        ValueError
            If there is no piece of such a number.
        """
        usable = set(have) - set(wanted)
        outside = sorted(index for index in usable | set(wanted) if not 0 <= index < self.n)
        if outside:
            raise ValueError(f"no pieces {outside} in a group of {self.k} blocks and {self.r} parities")
        if len(usable) < self.k:
            lost = [index for index in range(self.n) if index not in usable and index not in damaged]
            raise NotDecodable(
                f"{len(usable)} of {self.n} pieces are left and {self.k} are needed:"
                f" pieces {lost} are missing, pieces {sorted(damaged)} damaged"
            )
        erased = tuple(piece for piece in range(self.columns) if piece not in usable)
        given = [piece for piece in range(self.columns) if piece in usable]
        inside = self.columns - self.k
        right_sides = [piece for piece in range(self.columns, self.n) if piece in usable]
        right_sides = right_sides[: max(0, len(erased) - inside)]
        checks = (*range(min(len(erased), inside)), *(piece - self.k for piece in right_sides))
        others = tuple(sorted(piece for piece in wanted if piece >= self.columns))
        return Repair(self, (*given, *right_sides), erased, checks, others)


@dataclass(frozen=True)
class Repair:
    """How pieces are got from others.

    Parameters
    ----------
    code : ArrayCode
        The code.
    sources : tuple of int
        Pieces to read.
    erased : tuple of int
        Columns that are not read: the unknowns.
    checks : tuple of int
        As many checks as unknowns: 0, 1, 2, .. or 0 and another one.
    others : tuple of int
        Lost right sides, to be computed once all columns are known.
    """

    code: ArrayCode
    sources: tuple[int, ...]
    erased: tuple[int, ...]
    checks: tuple[int, ...]
    others: tuple[int, ...]

    @property
    def outputs(self) -> tuple[int, ...]:
        """The pieces that come out, in order."""
        return self.erased + self.others

    def shifts(self, piece: int) -> list[int | None]:
        """Return by how many rows a piece is rotated before it is added to each output."""
        checks = (*self.checks, *(output - self.code.k for output in self.others))
        return [self.code.shift(piece, check) for check in checks]

    @property
    def points(self) -> tuple[int, ...]:
        """Exponents of the nodes of the Vandermonde system."""
        step = self.checks[1] if len(self.checks) > 1 else 1
        return tuple(step * piece % self.code.prime for piece in self.erased)
