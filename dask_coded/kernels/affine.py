"""Parity of what adds a constant: f(x) = L(x) + c, with one c for all rows.

Parity p = sum_i w_i x_i, rows weighted, belongs to the parity sum_i w_i f(x_i) = L(p) + h c
of the results, with h = sum_i w_i. That is h f(p / h): the function itself, run on
weighted means of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from dask_coded.kernels.blocks import encode_block
from dask_coded.kernels.dtypes import real_dtype
from dask_coded.kernels.scaling import ZERO, Levels

__all__ = ["RowWeights", "levels_of_results"]

Block = NDArray[Any]


class RowWeights:
    """The sum h of the weights in each row of a parity block.

    Parameters
    ----------
    coefficients : array_like, shape (m, k * m)
        What the parity block was encoded with, see `encode_block`.
    lengths : sequence of k ints
        Lengths of the blocks along the coded axis.
    length : int
        That of the parity block.
    dtype : dtype-like
        The parity block's, not an integer's.

    Examples
    --------
    >>> mean = RowWeights([[1, 1]], (2, 1), 2, float)
    >>> mean.divide(np.array([4.0, 2.0]), None, axis=0)
    array([2., 2.])
    """

    def __init__(
        self, coefficients: ArrayLike, lengths: Sequence[int], length: int, dtype: DTypeLike
    ) -> None:
        self.coefficients = np.asarray(coefficients)
        self.lengths, self.length, self.dtype = tuple(lengths), length, np.dtype(dtype)

    def divide(self, parity: Block, levels: Sequence[Levels] | None, axis: int) -> Block:
        """Return p / h.

        Parameters
        ----------
        parity : ndarray
            Of `length` rows along `axis`.
        levels : sequence of k arrays or None
            That the blocks were scaled by, see `encode_block`.
        axis : int
            The coded axis.
        """
        return np.divide(parity, self._along(axis, parity, levels, absent=1))

    def multiply(self, result: Block, levels: Sequence[Levels] | None, axis: int) -> Block:
        """Return h f, the parity block of the results; arguments as for `divide`."""
        return np.multiply(result, self._along(axis, result, levels, absent=0))

    def _along(self, axis: int, block: Block, levels: Sequence[Levels] | None, absent: int) -> Block:
        """Return h as a factor of the rows of a block, `absent` where no block has a row."""
        with np.errstate(all="ignore"):
            sums = self._sums(self.coefficients, block, levels)
            most = self._sums(np.abs(self.coefficients), block, levels)
            # Weights may cancel; what has no weight in the result is as good, and can be divided by.
            least = most * np.finfo(self.dtype).eps ** 2
            sums = np.where(np.abs(sums) < least, least, sums)
            sums = np.where(most == 0, absent, sums)
        return sums.reshape([-1 if d == axis else 1 for d in range(block.ndim)])

    def _sums(self, coefficients: Block, like: Block, levels: Sequence[Levels] | None) -> Block:
        dtype = real_dtype(self.dtype)
        ones = [np.ones((n, 1), dtype, like=like) for n in self.lengths]
        return encode_block(coefficients, ones, levels, axis=0, length=self.length, dtype=dtype)


def levels_of_results(levels: Sequence[Levels]) -> list[Levels]:
    """Return the row levels that results are decoded with: where numbers are added rows of zeros are none.

    Parameters
    ----------
    levels : sequence of arrays
        From `row_levels`. The factor of a row of zeros is 1, here and there.
    """
    return [np.where(each == ZERO, np.int16(3), each) for each in levels]
