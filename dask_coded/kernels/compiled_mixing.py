"""Combinations by compiled kernels, for floats that lie in long enough pieces."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.backend import compiled
from dask_coded.kernels.dtypes import real_dtype
from dask_coded.kernels.runs import Runs, runs
from dask_coded.kernels.scratch import scratch

__all__ = ["Factors", "Watch", "mix_compiled"]

Block = NDArray[Any]
Factors = Sequence[Block | None]

# Bytes, from measurements.
_TILE = 1 << 19  # of one result
_LINES = 1 << 18  # of all blocks, where they are scaled
_LONGEST_SUM = 8  # terms that the kernels sum in one go


class Watch(Protocol):
    """Measures rows of blocks and results; may then divide those of the results."""

    divisors: Block | None

    def __call__(self, rows: slice, axis: int, sources: Sequence[Block], results: Block) -> None:
        """Measure `rows` of the block, along `axis` of each source and ``axis + 1`` of the results."""

    def take(self, squares: Block, axis: int, blocks: Sequence[Block], factors: Factors) -> bool:
        """Take sums of squares of all rows instead; false if they cannot be trusted."""


def mix_compiled(
    weights: Block,
    blocks: Sequence[Block],
    out: Block,
    factors: Factors,
    axis: int,
    watch: Watch | None,
    more: bool = False,
) -> bool:
    """Combine as `mixing.mix` does, in compiled kernels.

    Parameters
    ----------
    weights, blocks, out, factors, axis, watch
        As for `mixing.mix`, without weights that are all zero; axes as in memory.
    more : bool
        Add to what is in `out`.

    Returns
    -------
    bool
        False if there are no kernels for this, or if they did not suffice.
    """
    real = real_dtype(out.dtype) if out.dtype.kind in "fc" else out.dtype
    if any(type(array) is not np.ndarray or array.dtype != out.dtype for array in (out, *blocks)):
        return False
    kernels = compiled(real.char)
    if kernels is None or weights.dtype != real:
        return False
    rows_matter = watch is not None or any(factor is not None for factor in factors)
    found = runs([*blocks, *out], axis if rows_matter else None)
    if found is None or (found.along and out.dtype.kind == "c" and rows_matter):
        return False
    squares = np.zeros((len(blocks) + len(out), found.shape[1]) if watch is not None else (0, 0))
    divisors = None if watch is None else watch.divisors
    _run(kernels, weights, found, out.dtype.itemsize // real.itemsize, factors, divisors, squares, more)
    if not more:
        out[~weights.any(axis=1)] = 0  # not -0
    with np.errstate(all="ignore"):
        return watch is None or watch.take(squares, axis, blocks, factors)


def _run(
    kernels: ModuleType,
    weights: Block,
    found: Runs,
    parts: int,
    factors: Factors,
    divisors: Block | None,
    squares: Block,
    more: bool,
) -> None:
    """Call the kernel; complex numbers are two real ones, `parts`."""
    dtype, k, (outer, rows, inner) = weights.dtype, weights.shape[1], found.shape
    scaled = any(factor is not None for factor in factors)
    nothing = np.empty((0, 0), dtype)
    scale = nothing
    if scaled:
        scale = np.ones((k, rows), dtype)
        for line, factor in zip(scale, factors, strict=True):
            line[:] = 1 if factor is None else factor
    size = min(_TILE, max(_LINES // k, 1 << 12)) if scaled else _TILE
    lines, levels = k if scaled else 0, 3 * (ceil(log2(ceil(k / _LONGEST_SUM))) + 1)
    with scratch((lines + levels, size), np.dtype(np.uint8), like=weights) as tiles:
        addresses = tiles.ctypes.data + np.arange(len(tiles)) * size
        kernels.mix_segments(
            np.ascontiguousarray(weights),
            found.places,
            (outer, rows, inner * parts),
            found.along and parts == 1,
            (scale, nothing if divisors is None else np.ascontiguousarray(divisors, dtype)),
            squares,
            addresses[:lines],
            addresses[lines:].reshape(-1, 3),
            size // dtype.itemsize,
            dtype,
            more,
        )
