"""Codes, patterns of loss and the slow decoder that the tests of codes share."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations

import numpy as np

from dask_coded.codes import Code, Decoding, block_diag, extend, kron, local, parity, product, replication
from dask_coded.codes.relations import Matrix


def code(generator: Matrix, target: Matrix, name: str = "hand-made") -> Code:
    return Code(name, (generator,), generator, target)


def vandermonde(n: int, k: int) -> Matrix:
    """Return the generator of a code without systematic pieces (Chebyshev)."""
    return np.polynomial.chebyshev.chebvander(np.cos((np.arange(n) + 0.5) * np.pi / n), k - 1)


def half_parity() -> Code:
    """Return a code of 2 sub-blocks whose first parity holds only one sub-block of block 0."""
    rows = np.vstack([np.eye(6), np.zeros((4, 6))])
    rows[6:8] = [[1, 0, 1, 0, 1, 0], [0, 0, 0, 1, 0, 1]]
    rows[8:] = [[0, 1, 2, 0, 3, 0], [1, 1, 0, 2, 0, 3]]
    return Code("singular blocks", (rows,), rows, np.eye(6), 2)


#: One row for each family and combinator, and for each branch of their constructions.
CODES = [
    parity(1),
    parity(1, 3),
    parity(5),
    parity(2, 2),
    parity(4, 2),
    parity(7, 2),
    parity(12, 2),
    parity(18, 2),
    parity(6, 3),
    parity(5, 4),
    parity(6, 2, sub_blocks=1),
    parity(7, 3, sub_blocks=1),
    parity(6, 5),
    replication(4),
    replication(3, copies=3),
    product(2, 2),
    product(3, 4),
    product(3, 2, rows=2, columns=1),
    product(3, 1, rows=1, columns=0),
    kron(parity(2), local(4, 2)),
    local(7, 3),
    local(7, 4, r=2),
    block_diag(parity(3), parity(2, 2)),
    extend(parity(4), 2),
    extend(parity(3, 2), 2, seed=5),
    extend(product(2, 2), 2),
    code(np.vstack([np.eye(4), np.ones((1, 4))]), np.ones((1, 4)), "sum of blocks"),
    code(np.vstack([np.eye(4), [[1, 2, 3, 4]]]), np.ones((1, 4)), "sum that is no piece"),
    code(vandermonde(7, 4), np.eye(4), "not systematic"),
    code(np.exp(2j * np.pi * np.outer(np.arange(6), np.arange(4)) / 6), np.eye(4), "complex"),
    half_parity(),
]


def exact(code: Code) -> bool:
    """Return whether all coefficients are 0, 1 or -1."""
    return bool(np.isin(code.generator, (-1, 0, 1)).all())


def rows(code: Code, pieces: Collection[int]) -> Matrix:
    """Return the row numbers of `pieces`, in their order."""
    m = code.sub_blocks
    return np.array([piece * m + s for piece in pieces for s in range(m)], dtype=int)


def losing(code: Code, *lost: int) -> set[int]:
    return set(range(code.n)) - set(lost)


def patterns(code: Code, losses: int) -> Iterator[set[int]]:
    """Yield every set of pieces that is left after `losses` losses."""
    return (losing(code, *lost) for lost in combinations(range(code.n), losses))


def wanted_rows(code: Code, wanted: int) -> Matrix:
    return code.target[rows(code, [wanted])]


def slow_decode(code: Code, have: Collection[int], wanted: int) -> float | None:
    """Return the least amplification with which `have` gives `wanted`, by one big solve."""
    at = rows(code, sorted(have))
    target = wanted_rows(code, wanted)
    sizes = np.linalg.norm(target, axis=1)
    scaled = code.generator[at] / np.linalg.norm(code.generator[at], axis=1)[:, None]
    weights = np.linalg.lstsq(scaled.T, target.T, rcond=1e-11)[0].T
    if not len(at) or np.linalg.norm(weights @ scaled - target) > 1e-6 * np.linalg.norm(target):
        return None
    return float((np.linalg.norm(weights, axis=1) / sizes).max())


def apply(code: Code, decoding: Decoding, pieces: Matrix) -> Matrix:
    """Return the rows of the target, from the rows of all pieces."""
    return decoding.weights.astype(pieces.dtype) @ pieces[rows(code, decoding.used)]


def worst_growth(code: Code, losses: int) -> float:
    """Return the largest amplification over all patterns of loss; every target must decode."""
    worst = 0.0
    for have in patterns(code, losses):
        for wanted in range(code.q):
            if code.systematic[wanted] in have:
                continue
            decoding = code.plan(have, wanted)
            assert decoding is not None, (code, have, wanted)
            assert decoding.residual < 1e-9
            worst = max(worst, decoding.amplification)
    return worst
