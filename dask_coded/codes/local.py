"""Local codes: independent groups, so that a repair reads its own group only."""

from __future__ import annotations

import numpy as np

from dask_coded.codes.checking import at_least
from dask_coded.codes.code import Code
from dask_coded.codes.parity import parity
from dask_coded.codes.relations import Matrix, parity_checks

__all__ = ["block_diag", "local"]


def block_diag(*codes: Code) -> Code:
    """Return the code that holds `codes` side by side, each with its own blocks.

    Parameters
    ----------
    *codes : Code
        Codes of equally many operands and with the same `sub_blocks`.

    Returns
    -------
    Code
        Targets and hidden blocks are those of the codes in turn. Pieces that are
        targets come first, then the other pieces, each in the order of the codes.
    """
    if not codes:
        raise ValueError("block_diag() of no codes: give one or more")
    for what in ("sub_blocks", "operands"):
        found = {c.sub_blocks if what == "sub_blocks" else len(c.encodings) for c in codes}
        if len(found) > 1:
            raise ValueError(f"block_diag of codes with {what} {sorted(found)}: give codes that agree")
    m = codes[0].sub_blocks
    first = np.cumsum([0, *(code.n for code in codes)]).tolist()
    own = [at + t for at, code in zip(first, codes, strict=False) for t in _own(code)]
    order = [*own, *sorted(set(range(first[-1])) - set(own))]
    rows = (np.array(order)[:, None] * m + np.arange(m)).ravel()
    operands = range(len(codes[0].encodings))
    checks = _diagonal([parity_checks(c.generator, m)[0] if c.checks is None else c.checks for c in codes])
    return Code(
        f"block_diag({', '.join(code.name for code in codes)})",
        tuple(_diagonal([code.encodings[o] for code in codes])[rows] for o in operands),
        _diagonal([code.generator for code in codes])[rows],
        _diagonal([code.target for code in codes]),
        m,
        checks[:, rows],
    )


def local(k: int, group: int, r: int = 1) -> Code:
    """Return `k` blocks in groups of about `group`, each with `r` parity pieces of its own.

    Parameters
    ----------
    k : int
        Number of blocks.
    group : int
        Most blocks in one group; sizes differ by at most 1.
    r : int
        Parity pieces of each group.

    Notes
    -----
    Local repair within groups of a coded product: Gupta, Carrano, Yang, Shankar,
    Courtade, Ramchandran (2020), arXiv:2001.07490.
    """
    at_least(1, k=k, group=group, r=r)
    groups = -(-k // group)
    sizes = [(k + g) // groups for g in range(groups)]
    # Sizes that differ by 1 may fall on both sides of a table's edge: the larger one decides for all.
    cut = parity(max(sizes), r).sub_blocks
    codes = {size: _sized(size, r, cut) for size in set(sizes)}
    code = block_diag(*(codes[size] for size in sizes))
    name = f"local(k={k}, group={group}, r={r})"
    return Code(name, code.encodings, code.generator, code.target, code.sub_blocks, code.checks)


def _sized(size: int, r: int, cut: int) -> Code:
    code = parity(size, r)
    return code if code.sub_blocks == cut else parity(size, r, sub_blocks=cut)


def _own(code: Code) -> list[int]:
    return [piece for piece in dict.fromkeys(code.systematic) if piece >= 0]


def _diagonal(matrices: list[Matrix]) -> Matrix:
    height, width = np.sum([matrix.shape for matrix in matrices], axis=0)
    whole = np.zeros((height, width), np.result_type(*matrices))
    row = column = 0
    for matrix in matrices:
        below, right = row + matrix.shape[0], column + matrix.shape[1]
        whole[row:below, column:right] = matrix
        row, column = below, right
    return whole
