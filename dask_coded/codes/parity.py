"""Systematic parity: k blocks and r weighted sums of them; any k pieces give all blocks.

How much a decode multiplies rounding errors depends on how far apart the
coefficients of any two blocks are. Single parity is the plain sum, whose growth
sqrt(2k - 1) nothing can beat. For double parity the ratios of coefficients must
differ: real numbers have only the two directions +1 and -1 that are far apart,
but the division algebras have room for more if a block is cut in m groups of
rows and coefficients are m x m matrices that only permute and negate them::

    m = 1  real numbers  +-1               k <= 2      P0 = X0 + X1 + ...
    m = 2  complex       +-1, +-i          k <= 4      P1 = L(u0) X0 + L(u1) X1 + ...
    m = 4  quaternions   +-1, +-i, ...     k <= 8
    m = 8  octonions     +-1, +-e1, ...    k <= 16     growth sqrt(2k - 1), as for one parity
           octonions     +-e_a +- e_b      k <= 112    growth sqrt(4k - 1)

Triple and quadruple parity use quaternions found by optimisation: growth 4.6, 8.7
and 15.8 for 8, 16 and 32 blocks and three losses, 5.2, 11.3 and 32.3 for four.
The first parity is the plain sum of all blocks in every code so far (a sum with
positive weights in the tables for more than 16 blocks): it repairs a single loss
exactly even in integers, and is itself the result of a sum over the blocks. With
`alternating` it is X0 - X1 + X2 - ..., which is more accurate for blocks with a mean.

Everything else uses real coefficients in closed form, whose growth rises quickly
with k and r: split many blocks into groups (`dask_coded.codes.local`).
"""

from __future__ import annotations

import numpy as np

from dask_coded.codes.checking import at_least
from dask_coded.codes.code import Code
from dask_coded.codes.hypercomplex import left_products, optimised_quaternions, unit_pairs, units
from dask_coded.codes.relations import Matrix

__all__ = ["parity", "trigonometric_parity"]

#: Blocks that the pairs of octonion units can tell apart.
MOST_PAIRS = 112
#: Blocks in the largest table of optimised quaternions.
MOST_OPTIMISED = 32


def parity(k: int, r: int = 1, sub_blocks: int | None = None, *, alternating: bool = False) -> Code:
    """Return the systematic code of `k` blocks and `r` parity pieces; any k pieces decode.

    Parameters
    ----------
    k : int
        Number of blocks.
    r : int
        Number of parity pieces: losses that are always repaired.
    sub_blocks : int, optional
        Groups of rows that blocks are cut into. The default takes the most
        accurate code that is known here; 1 takes plain numbers as coefficients
        (needed where blocks cannot be cut, less accurate).
    alternating : bool
        Count every second block negative. It changes nothing for blocks whose
        values differ at random. Where they share a mean (counts, pictures,
        probabilities), parity then stays as small as they are, while a plain sum
        grows to k times their size, and the error of a decode with it.

    Returns
    -------
    Code

    Notes
    -----
    Coding the rows of a matrix product against stragglers: Lee, Lam, Pedarsani,
    Papailiopoulos, Ramchandran (2015), arXiv:1512.02673. Sums of rows as checks:
    Huang and Abraham (1984).
    """
    at_least(1, k=k, r=r)
    if sub_blocks is not None:
        at_least(1, sub_blocks=sub_blocks)
    rows, m = _parity_rows(k, r, sub_blocks)
    name = f"parity(k={k}, r={r}" + ("" if sub_blocks is None else f", sub_blocks={m}")
    if alternating:
        rows = rows * np.repeat((-1.0) ** np.arange(k), m)
        name += ", alternating=True"
    encoding = np.concatenate([np.eye(k * m), rows])
    return Code(f"{name})", (encoding,), encoding, np.eye(k * m), m)


def _parity_rows(k: int, r: int, sub_blocks: int | None) -> tuple[Matrix, int]:
    """Return the parity rows (r * m, k * m) and m."""
    choices: dict[int, int] = {}  # sub-blocks -> most blocks
    if r == 2:
        choices = {1: 2, 2: 4, 4: 8, 8: MOST_PAIRS}
    elif r in (3, 4):
        choices = {4: MOST_OPTIMISED}
    m = sub_blocks or min((cut for cut, most in choices.items() if k <= most), default=1)
    if k == 1 or r == 1:
        m = sub_blocks or 1
        return np.kron(np.ones((r, k)), np.eye(m)), m
    if m == 1 and (r != 2 or k > 2):
        return trigonometric_parity(k, r), 1
    if k > choices.get(m, 0):
        possible = sorted({1} | {cut for cut, most in choices.items() if k <= most})
        raise ValueError(f"sub_blocks={sub_blocks}: no code with k={k}, r={r}; possible here are {possible}")
    if r == 2:
        second = units(m)[:k] if k <= 2 * m else unit_pairs(m)[:k]
        first = np.zeros_like(second)
        first[:, 0] = 1
        return left_products(np.stack([first, second])), m
    return left_products(optimised_quaternions(k, r)), m


def trigonometric_parity(k: int, r: int) -> Matrix:
    """Return real parity rows (r, k) of which every square part is invertible.

    Codewords are the vectors that the trigonometric moment curve annihilates:
    column j of the parity-check matrix is (1, cos t, sin t, cos 2t, ...) for odd
    r and (cos t/2, sin t/2, cos 3t/2, ...) for even r, at k + r points t spread
    evenly over the circle. A trigonometric polynomial of r terms has fewer than r
    zeros there, so any r columns are independent. Parity sits at positions spread
    evenly too, and solving for it gives the systematic form.
    """
    n = k + r
    points = 2 * np.pi * np.arange(n) / n
    frequencies = np.arange(r // 2) + (0.5 if r % 2 == 0 else 1.0)
    waves = np.multiply.outer(frequencies, points)
    constant = np.ones((r % 2, n))
    check = np.concatenate([constant, np.cos(waves), np.sin(waves)])
    at = (2 * np.arange(r) + 1) * n // (2 * r)
    rows: Matrix = np.linalg.solve(check[:, at], np.delete(check, at, axis=1))
    rows /= np.abs(rows).max(axis=1, keepdims=True)
    return rows
