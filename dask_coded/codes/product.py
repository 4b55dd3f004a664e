"""Product codes: both operands of a product coded, a grid of pieces with parity rows and columns.

::

      C00  C01  C02 | C0P      a lost block is repaired from its row or its column,
      C10  C11  C12 | C1P      so it reads p or q pieces and never p * q; a repaired
      --------------+----      block helps the next one. The corner CPP repairs
      CP0  CP1  CP2 | CPP      parity.

With one parity row and column any 3 losses are repaired; the smallest pattern
that is not repaired is the corners of a rectangle.
"""

from __future__ import annotations

import numpy as np

from dask_coded.codes.checking import at_least, require_one_operand, require_systematic
from dask_coded.codes.code import Code
from dask_coded.codes.parity import parity
from dask_coded.codes.relations import Matrix, parity_checks

__all__ = ["kron", "product"]


def product(p: int, q: int, rows: int = 1, columns: int = 1) -> Code:
    """Return the product code of a grid of p x q blocks.

    Parameters
    ----------
    p, q : int
        Row blocks of operand 0 and column blocks of operand 1.
    rows, columns : int
        Parity pieces added to the blocks of operand 0 and of operand 1.

    Returns
    -------
    Code
        Two encodings. Piece ``i * q + j`` is block (i, j); parity follows.

    Notes
    -----
    Lee, Suh, Ramchandran, "High-dimensional coded matrix multiplication", ISIT
    2017; Baharav, Lee, Ocal, Ramchandran (2018) for more dimensions.
    """
    at_least(1, p=p, q=q)
    at_least(0, rows=rows, columns=columns)
    code = kron(_scalar_parity(p, rows), _scalar_parity(q, columns))
    name = f"product(p={p}, q={q}, rows={rows}, columns={columns})"
    return Code(name, code.encodings, code.generator, code.target, 1, code.checks)


def _scalar_parity(k: int, r: int) -> Code:
    if r:
        return parity(k, r, sub_blocks=1)
    return Code(f"uncoded(k={k})", (np.eye(k),), np.eye(k), np.eye(k))


def kron(a: Code, b: Code) -> Code:
    """Return the code of all products of a piece of `a` with a piece of `b`.

    Parameters
    ----------
    a, b : Code
        Systematic codes of one operand each, without sub-blocks.

    Returns
    -------
    Code
        Operand 0 is encoded by `a`, operand 1 by `b`. Target ``i * b.q + j`` is
        target i of `a` times target j of `b`, and is the piece of the same
        number; products with parity follow.
    """
    for code in (a, b):
        require_one_operand(code, "kron")
        require_systematic(code, "kron")
    in_a, in_b = np.meshgrid(np.arange(a.n), np.arange(b.n), indexing="ij")
    place = (in_a * b.n + in_b)[np.ix_(a.systematic, b.systematic)].ravel()
    order = np.concatenate([place, np.setdiff1d(np.arange(a.n * b.n), place)])
    # Rows and columns of the grid are the sparse relations; parity rows repair parity columns too.
    checks = np.concatenate(
        [np.kron(np.eye(a.n), _relations(b)), np.kron(_relations(a), np.eye(b.n))],
    )
    return Code(
        f"kron({a.name}, {b.name})",
        (a.encodings[0][order // b.n], b.encodings[0][order % b.n]),
        np.kron(a.generator, b.generator)[order],
        np.kron(a.target, b.target),
        checks=checks[:, order],
    )


def _relations(code: Code) -> Matrix:
    return parity_checks(code.generator, 1)[0] if code.checks is None else code.checks
