"""Combinations of blocks that arrive one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from dask_coded.kernels.combine import empty_like, fit_weights
from dask_coded.kernels.dtypes import parity_dtype
from dask_coded.kernels.mixing import mix, mix_more

__all__ = ["Accumulator"]

Block = NDArray[Any]


class Accumulator:
    """Combines blocks as they arrive, in any order; holds nothing but the results.

    After the last arrival one block is left to be folded in, however many there are. For
    whoever fetches pieces itself, such as a worker that decodes while it still receives:
    a Dask task gets all its inputs at once, and `combine` is faster then, because it reads
    and writes each result once and not once for each block.

    Parameters
    ----------
    weights : array_like, shape (m, k)
        Coefficients, as for `combine`: those of a decode from the pieces that are awaited.
    dtype : dtype-like
        dtype of the blocks.

    Examples
    --------
    >>> sums = Accumulator([[1, 1], [1, -1]], int)
    >>> sums.add(1, np.array([2, 3]))
    >>> sums.missing
    (0,)
    >>> sums.add(0, np.array([5, 6]))
    >>> sums.result()
    array([[7, 9],
           [3, 3]])
    """

    def __init__(self, weights: ArrayLike, dtype: DTypeLike):
        self._dtype = parity_dtype(dtype, dtype)
        if np.iscomplexobj(weights) and self._dtype.kind == "f":
            self._dtype = np.result_type(self._dtype, np.complex64)
        self._weights = fit_weights(weights, self._dtype)
        if self._weights.ndim != 2:
            raise ValueError(f"weights of shape {self._weights.shape}: one row for each result is needed")
        self._missing = set(range(self._weights.shape[1]))
        self._sums: Block | None = None
        self._shape: tuple[int, ...] = ()

    @property
    def missing(self) -> tuple[int, ...]:
        """Which blocks have not arrived yet."""
        return tuple(sorted(self._missing))

    def add(self, index: int, block: Block) -> None:
        """Fold a block in.

        Parameters
        ----------
        index : int
            Its column of the weights; each is given once.
        block : ndarray
            Any memory order, best that of the first one; not written to.

        Raises
        ------
        ValueError
            If the block was there already, or has another shape or dtype than the first one.
        """
        if index not in self._missing:
            raise ValueError(f"block {index} is not awaited: blocks {self.missing} are")
        if parity_dtype(block.dtype, self._dtype) != self._dtype:
            raise ValueError(f"a block of {block.dtype} does not fit sums of {self._dtype}")
        if self._sums is not None and block.shape != self._shape:
            raise ValueError(f"a block of shape {block.shape} does not fit others of {self._shape}")
        flat, column = block if block.shape else block.reshape(1), self._weights[:, index]
        if self._sums is None:
            self._sums, self._shape = empty_like(flat, (len(column), *flat.shape), self._dtype), block.shape
            mix(column[:, np.newaxis], [flat], self._sums)
        else:
            mix_more(column, flat, self._sums)
        self._missing.remove(index)

    def result(self) -> Block:
        """Return the results, shape (m, *shape); they are not copied.

        Raises
        ------
        ValueError
            If blocks have not arrived.
        """
        if self._missing or self._sums is None:
            raise ValueError(f"no result yet: blocks {self.missing} have not arrived")
        return self._sums.reshape(len(self._sums), *self._shape) if not self._shape else self._sums
