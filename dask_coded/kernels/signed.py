"""Sums and differences of tiles with NumPy, and of whole multiples of integers.

Terms are associated by their place alone, as compiled kernels do it too, so that the
bits do not depend on who adds or on how blocks lie in memory:

    ((a + b) + (c + d)) + ((e + f) + (g + h))   eight at a time, groups of eight in pairs

Two blocks are read at a time, which is faster than one, and signs that alternate keep
the sums small on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_up", "room_for_sums"]

Block = NDArray[Any]
Sum = tuple[Block, bool] | None  # a tile and whether it counts negative; None for nothing

_QUAD, _GROUP = 4, 8


def room_for_sums(terms: int) -> int:
    """Return how many tiles of room `add_up` needs for so many terms."""
    return 2 + ceil(log2(max(1, ceil(terms / _GROUP))))


def add_up(weights: Block, sources: Sequence[Block], result: Block, room: Sequence[Block]) -> None:
    """Put ``sum of weight * source`` into `result`; weights other than 0, 1 and -1 for integers only."""
    minus = np.array(-1).astype(result.dtype)
    if not ((weights == 0) | (weights == 1) | (weights == minus)).all():
        _add_multiples(weights, sources, result, room[0])
        return
    signed = zip(sources, (weights != 0).tolist(), (weights != 1).tolist(), strict=True)
    terms: list[Sum] = [(source, negative) if present else None for source, present, negative in signed]
    total = _add_groups(terms, [result, *room[:-2]], room[-2], room[-1])
    if total is None:
        result[...] = 0
    elif total[1]:
        np.negative(total[0], out=result, dtype=result.dtype, casting="unsafe")
    elif total[0] is not result:
        np.copyto(result, total[0], casting="unsafe")


def _add_multiples(weights: Block, sources: Sequence[Block], result: Block, product: Block) -> None:
    result[...] = 0
    for weight, source in zip(weights, sources, strict=True):
        np.multiply(source, weight, out=product, dtype=result.dtype, casting="unsafe")
        np.add(result, product, out=result)


def _add_groups(terms: Sequence[Sum], places: list[Block], spare: Block, other: Block) -> Sum:
    """Add groups of terms like a binary counter: two sums of one length become one."""
    sums: list[Sum] = []
    for start in range(0, len(terms), _GROUP):
        sums.append(_add_group(terms[start : start + _GROUP], places[len(sums)], spare, other))
        number, last = start // _GROUP + 1, start + _GROUP >= len(terms)
        while len(sums) > 1 and (number % 2 == 0 or last):
            latest, number, here = sums.pop(), number // 2, len(sums) - 1
            if sums[here] is None:  # so the sum stays where the latest is
                places[here], places[here + 1] = places[here + 1], places[here]
            sums[here] = _add(sums[here], latest, places[here])
    return sums[0]


def _add_group(terms: Sequence[Sum], place: Block, spare: Block, other: Block) -> Sum:
    total: Sum = None
    quads = len(terms) // _QUAD * _QUAD
    for j in range(0, quads, _QUAD):
        out = place if total is None else spare
        left = _add(terms[j], terms[j + 1], out)
        right = _add(terms[j + 2], terms[j + 3], out if left is None else other)
        total = _add(total, _add(left, right, out), place)
    for term in terms[quads:]:
        total = _add(total, term, place)
    return total


def _add(left: Sum, right: Sum, out: Block) -> Sum:
    if left is None or right is None:
        return left or right
    how: dict[str, Any] = {"out": out, "dtype": out.dtype, "casting": "unsafe"}
    if left[1] == right[1]:
        return np.add(left[0], right[0], **how), left[1]
    if left[1]:
        left, right = right, left
    return np.subtract(left[0], right[0], **how), False
