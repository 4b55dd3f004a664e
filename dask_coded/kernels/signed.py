"""Sums and differences of tiles with NumPy, and of whole multiples of integers.

Terms are associated by their place alone, as compiled kernels do it too, so that the
bits do not depend on who adds or on how blocks lie in memory:

    (a + b + .. + h) + (i + j + .. + p)     eight one after another, groups of eight in pairs

Signs that alternate keep the sums small on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SignedSum"]

Block = NDArray[Any]
Sum = tuple[Block, bool] | None  # a tile and whether it counts negative; None for nothing

_GROUP = 8


class SignedSum:
    """``sum of weight * source``, planned once for all tiles.

    Parameters
    ----------
    weights : ndarray, shape (k,)
        0, 1 and -1; for integers also others.
    sources : sequence of k arrays
        Of what the tiles are cut.
    dtype : numpy.dtype
        Of the result.
    """

    def __init__(self, weights: Block, sources: Sequence[Block], dtype: np.dtype[Any]):
        self._minus = np.array(-1).astype(dtype)[()]
        self._signed = bool(((weights == 0) | (weights == 1) | (weights == self._minus)).all())
        self._weights = list(weights)
        self._signs = list(zip((weights != 0).tolist(), (weights != 1).tolist(), strict=True))
        alike = all(source.dtype == dtype for source in sources)
        self._how: dict[str, Any] = {} if alike else {"dtype": dtype, "casting": "unsafe"}

    @staticmethod
    def room(terms: int) -> int:
        """Return how many tiles of room so many terms need."""
        return max(1, ceil(log2(max(1, ceil(terms / _GROUP)))))

    def __call__(self, sources: Sequence[Block], result: Block, room: Sequence[Block]) -> None:
        """Put the sum of these tiles into `result`."""
        if not self._signed:
            self._add_multiples(sources, result, room[0])
            return
        terms: list[Sum] = [
            (source, negative) if present else None
            for source, (present, negative) in zip(sources, self._signs, strict=True)
        ]
        total = self._add_groups(terms, [result, *room])
        if total is None:
            result[...] = 0
        elif total[1]:
            # Not np.negative, which in NumPy 2.4 reads the wrong elements of a strided array in place.
            np.multiply(total[0], self._minus, result, dtype=result.dtype, casting="unsafe")
        elif total[0] is not result:
            np.copyto(result, total[0], casting="unsafe")

    def _add_multiples(self, sources: Sequence[Block], result: Block, product: Block) -> None:
        result[...] = 0
        for weight, source in zip(self._weights, sources, strict=True):
            np.multiply(source, weight, product, **self._how)
            np.add(result, product, result)

    def _add_groups(self, terms: Sequence[Sum], places: list[Block]) -> Sum:
        """Add groups of terms like a binary counter: two sums of one length become one."""
        sums: list[Sum] = []
        for start in range(0, len(terms), _GROUP):
            total: Sum = None
            for term in terms[start : start + _GROUP]:
                total = self._add(total, term, places[len(sums)])
            sums.append(total)
            number, last = start // _GROUP + 1, start + _GROUP >= len(terms)
            while len(sums) > 1 and (number % 2 == 0 or last):
                latest, number, here = sums.pop(), number // 2, len(sums) - 1
                if sums[here] is None:  # so the sum stays where the latest is
                    places[here], places[here + 1] = places[here + 1], places[here]
                sums[here] = self._add(sums[here], latest, places[here])
        return sums[0]

    def _add(self, left: Sum, right: Sum, out: Block) -> Sum:
        if left is None or right is None:
            return left or right
        if left[1] == right[1]:
            np.add(left[0], right[0], out, **self._how)
            return out, left[1]
        if left[1]:
            left, right = right, left
        np.subtract(left[0], right[0], out, **self._how)
        return out, False
