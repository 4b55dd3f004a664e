"""Relations between the pieces of a code, and other facts that follow from its matrices alone."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["RANK_TOLERANCE", "Matrix", "expand", "own_pieces", "parity_checks", "row_norms", "touched"]

Matrix: TypeAlias = NDArray[Any]

#: Relative singular values below this count as zero.
RANK_TOLERANCE = 1e-11
#: Coefficients of relations this small beside the largest count as zero.
NOISE = 1e-14


def own_pieces(generator: Matrix, target: Matrix, m: int) -> tuple[int, ...]:
    """Return for each target the first piece with exactly the same rows, or -1."""
    piece_of: dict[bytes, int] = {}
    for piece in range(len(generator) // m):
        piece_of.setdefault(generator[piece * m : (piece + 1) * m].tobytes(), piece)
    rows = (target[w * m : (w + 1) * m].astype(generator.dtype) for w in range(len(target) // m))
    return tuple(piece_of.get(row.tobytes(), -1) for row in rows)


def parity_checks(generator: Matrix, m: int) -> tuple[Matrix, Matrix]:
    """Return relations that span all those between pieces, and the hidden blocks as pieces.

    Returns
    -------
    checks : array of shape (c * m, n * m)
        ``checks @ generator == 0``. If every hidden block is a piece, each other
        piece has one check: its blocks minus itself.
    blocks : array of shape (R * m, n * m)
        Combinations of pieces that give the hidden blocks (or come closest).
    """
    rows, columns = generator.shape
    units = own_pieces(generator, np.eye(columns), m)
    if -1 not in units:
        at = expand(units, m)
        blocks = np.zeros((columns, rows))
        blocks[np.arange(columns), at] = 1
        others = np.setdiff1d(np.arange(rows), at)
        checks = np.zeros((len(others), rows), generator.dtype)
        checks[:, at] = generator[others]
        checks[np.arange(len(others)), others] = -1
        return checks, blocks
    norms = row_norms(generator)
    left, values, _ = np.linalg.svd(generator / norms[:, None])
    rank = int((values > RANK_TOLERANCE * values[0]).sum())
    null = left[:, rank:].conj().T / norms
    null[np.abs(null) < NOISE * np.abs(null).max(initial=0)] = 0
    # Zero rows keep the number of rows a multiple of m; they say nothing and harm nothing.
    null = np.concatenate([null, np.zeros((-len(null) % m, rows))])
    return null, np.linalg.pinv(generator / norms[:, None], rcond=RANK_TOLERANCE) / norms


def row_norms(matrix: Matrix) -> Matrix:
    """Return the norm of each row, 1 for rows of zeros."""
    norms: Matrix = np.linalg.norm(matrix, axis=1)
    return np.where(norms > 0, norms, 1.0)


def expand(pieces: Collection[int], m: int) -> Matrix:
    """Return the row (or column) numbers of `pieces`."""
    first = np.fromiter(pieces, dtype=np.intp, count=len(pieces))
    return first if m == 1 else (first[:, None] * m + np.arange(m)).ravel()


def touched(matrix: Matrix, m: int) -> list[int]:
    """Return for each group of m rows the bit mask of the pieces with a coefficient."""
    rows, columns = matrix.shape
    any_coefficient = (matrix.reshape(rows // m, m, columns // m, m) != 0).any(axis=(1, 3))
    return [sum(1 << int(piece) for piece in np.flatnonzero(row)) for row in any_coefficient]
