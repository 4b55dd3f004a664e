"""More parity for a code that is already in use: late parity, rateless codes."""

from __future__ import annotations

import numpy as np

from dask_coded.codes.checking import at_least
from dask_coded.codes.code import Code
from dask_coded.codes.relations import Matrix, parity_checks

__all__ = ["extend"]


def extend(code: Code, extra: int, seed: int = 0) -> Code:
    """Return `code` with `extra` more parity pieces; the pieces it has keep their numbers.

    A new piece is a random combination of all blocks of each operand. It depends
    on its number and on `seed` only, so extending twice by one is extending by two.

    Parameters
    ----------
    code : Code
        A code whose pieces are products of its encodings.
    extra : int
        Number of new pieces. There is no limit: the code is rateless.
    seed : int
        Chooses the combinations.

    Notes
    -----
    Rateless codes against stragglers: Mallick, Chaudhari, Sheth, Palanikumar,
    Joshi (2018), arXiv:1804.10331. Random products of encodings (two operands):
    Subramaniam, Heidarzadeh, Narayanan (2019), arXiv:1907.05965.
    """
    at_least(0, extra=extra, seed=seed)
    if not extra:
        return code
    if not np.array_equal(_products(code.encodings, code.sub_blocks), code.generator):
        raise ValueError(
            f"extend cannot tell what more pieces of {code.name} would be, because its pieces are not"
            " plain products of its encodings: give a code such as parity(k, r) or product(p, q)"
        )
    new = [_combinations(code, piece, seed) for piece in range(code.n, code.n + extra)]
    encodings = tuple(
        np.concatenate([old, *(piece[o] for piece in new)]) for o, old in enumerate(code.encodings)
    )
    generator = _products(encodings, code.sub_blocks)
    return Code(
        f"extend({code.name}, extra={extra}, seed={seed})",
        encodings,
        generator,
        code.target,
        code.sub_blocks,
        _extended_checks(code, generator),
    )


def _combinations(code: Code, piece: int, seed: int) -> list[Matrix]:
    """Return the rows of a new piece for each operand."""
    m = code.sub_blocks
    random = np.random.default_rng([seed, piece])
    rows = []
    for encoding in code.encodings:
        blocks = encoding.shape[1] // m
        # Plain numbers even where the code has matrices: nothing is gained by mixing sub-blocks at random.
        rows.append(np.kron(random.standard_normal((1, blocks)) / np.sqrt(blocks), np.eye(m)))
    return rows


def _products(encodings: tuple[Matrix, ...], m: int) -> Matrix:
    """Return the generator of pieces that are products of their encoded operands."""
    rows = encodings[0]
    for encoding in encodings[1:]:
        if m > 1:
            raise ValueError(f"sub_blocks={m} with several operands: give a code without sub-blocks")
        rows = (rows[:, :, None] * encoding[:, None, :]).reshape(len(rows), -1)
    return rows


def _extended_checks(code: Code, generator: Matrix) -> Matrix | None:
    if code.checks is None:
        return None
    new = len(generator) - len(code.generator)
    _, blocks = parity_checks(code.generator, code.sub_blocks)
    old = np.pad(code.checks, ((0, 0), (0, new)))
    return np.concatenate([old, np.hstack([generator[-new:] @ blocks, -np.eye(new)])])
