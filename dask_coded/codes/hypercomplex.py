"""Coefficients from the division algebras: complex numbers, quaternions, octonions.

A coefficient is a vector of m numbers; multiplying by it from the left is an
m x m matrix, a multiple of an orthogonal one. The difference of two different
coefficients is again such a matrix, hence invertible: this is all that double
parity needs, so it does not matter that octonions are not associative.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from itertools import combinations

import numpy as np

from dask_coded.codes.relations import Matrix

__all__ = ["left_products", "optimised_quaternions", "unit_pairs", "units"]


@cache
def multiplication(m: int) -> Matrix:
    """Return the table T of an algebra of dimension m: (x y)[c] = sum T[c, a, b] x[a] y[b].

    Built by doubling: (a, b)(c, d) = (a c - d* b, d a + b c*).
    """
    if m == 1:
        return np.ones((1, 1, 1))
    h = m // 2
    half = multiplication(h)
    conjugate = np.ones(h)
    conjugate[1:] = -1
    reverse = half.transpose(0, 2, 1)
    table = np.zeros((m, m, m))
    table[:h, :h, :h] = half
    table[:h, h:, h:] = -reverse * conjugate[None, None, :]
    table[h:, :h, h:] = reverse
    table[h:, h:, :h] = half * conjugate[None, None, :]
    table.flags.writeable = False
    return table


def left_products(coefficients: Matrix) -> Matrix:
    """Return the matrix (r * m, k * m) that multiplies by `coefficients` (r, k, m) from the left."""
    r, k, m = coefficients.shape
    blocks: Matrix = np.einsum("cab,rka->rckb", multiplication(m), coefficients)
    return blocks.reshape(r * m, k * m) + 0.0


def units(m: int) -> Matrix:
    """Return the 2m coefficients +-e_a: any two are at least sqrt(2) apart."""
    return np.concatenate([np.eye(m), -np.eye(m)])


def unit_pairs(m: int) -> Matrix:
    """Return the 2m(m - 1) coefficients +-e_a +-e_b, in units of sqrt(2) at least 1 apart."""
    found = []
    for a, b in combinations(range(m), 2):
        for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            pair = np.zeros(m)
            pair[[a, b]] = signs
            found.append(pair)
    return np.stack(found)


def optimised_quaternions(k: int, r: int) -> Matrix:
    """Return the coefficients (r, k, 4) of the smallest optimised table for r in (3, 4) with k columns.

    Leaving out columns of a table only leaves out patterns of loss.
    """
    size = next(size for size in (4, 8, 16, 32) if k <= size)
    table: Matrix = _tables()[f"r{r}k{size}"][:, :k]
    return table


@cache
def _tables() -> dict[str, Matrix]:
    path = files("dask_coded.codes") / "block_codes.npz"
    with path.open("rb") as stream, np.load(stream) as archive:
        return {name: archive[name] for name in archive.files}
