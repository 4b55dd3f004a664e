"""Linear combinations of blocks at memory speed.

What is asked is checked here; the arithmetic is in `mixing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dask_coded.kernels.devices import device_of
from dask_coded.kernels.dtypes import parity_dtype, real_dtype
from dask_coded.kernels.fresh import fresh
from dask_coded.kernels.mixing import mix
from dask_coded.kernels.tiles import memory_order

__all__ = ["combine", "empty_like", "fit_weights"]

Block = NDArray[Any]


def combine(weights: ArrayLike, blocks: Sequence[Block], out: Block | None = None) -> Block:
    """Combine blocks linearly: ``result[s] = sum_j weights[s, j] * blocks[j]``.

    Parameters
    ----------
    weights : array_like, shape (m, k)
        Coefficients. Blocks whose weights are all zero are not read.
    blocks : sequence of k arrays of one shape
        Any memory order; never written to.
    out : ndarray, shape (m, *shape), optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (m, *shape)
        In the promoted dtype of the blocks, at least float32 (complex if the
        weights are). Integers: exact modulo 2**w.

    Raises
    ------
    TypeError
        If blocks cannot be combined honestly: bool, objects, dates, or integers
        with weights that are not whole numbers.

    Notes
    -----
    NaN and Inf may reach results whose own weight for that block is zero.

    Examples
    --------
    >>> combine([[1, 1], [1, -1]], [np.array([5, 6]), np.array([2, 3])])
    array([[7, 9],
           [3, 3]])
    """
    weights, dtype = np.asarray(weights), _work_dtype(weights, blocks)
    _check(weights, blocks, out)
    if out is not None and not np.can_cast(dtype, out.dtype, "same_kind"):
        raise TypeError(f"cannot put {dtype} into an out of dtype {out.dtype}")
    weights = fit_weights(weights, dtype)
    if (device := device_of([*blocks] if out is None else [*blocks, out])) is not None:
        return device.combine(weights, blocks, dtype, out)  # type: ignore[no-any-return]
    direct = out is not None and out.dtype == dtype and not any(np.may_share_memory(out, b) for b in blocks)
    flat = [block if block.shape else block.reshape(1) for block in blocks]
    if out is not None and direct:
        mix(weights, flat, out if blocks[0].shape else out[:, np.newaxis])
        return out
    result = empty_like(flat[0], (len(weights), *flat[0].shape), dtype)
    mix(weights, flat, result)
    if out is None:
        return result if blocks[0].shape else result[:, 0]
    np.copyto(out, result.reshape(out.shape), casting="same_kind")
    return out


def _work_dtype(weights: ArrayLike, blocks: Sequence[Block]) -> np.dtype[Any]:
    if not len(blocks):
        raise ValueError("at least one block is needed")
    dtype = np.result_type(*(block.dtype for block in blocks))
    if any(block.dtype.kind == "b" for block in blocks):
        dtype = np.dtype(bool)
    if dtype.kind not in "iub" and all(block.dtype.kind in "iu" for block in blocks):
        raise TypeError("no integer dtype holds the blocks' dtypes, floats would not be exact")
    dtype = parity_dtype(dtype, dtype)
    if np.iscomplexobj(weights) and dtype.kind == "f":
        dtype = np.result_type(dtype, np.complex64)
    return dtype


def _check(weights: Block, blocks: Sequence[Block], out: Block | None) -> None:
    if weights.ndim != 2 or weights.shape[1] != len(blocks):
        raise ValueError(f"weights of shape {weights.shape} for {len(blocks)} blocks")
    shapes = {block.shape for block in blocks}
    if len(shapes) != 1:
        raise ValueError(f"blocks differ in shape: {sorted(shapes)}")
    if out is not None and out.shape != (weights.shape[0], *blocks[0].shape):
        raise ValueError(f"out has shape {out.shape}, not {(weights.shape[0], *blocks[0].shape)}")


def fit_weights(weights: ArrayLike, dtype: np.dtype[Any]) -> Block:
    """Return the weights in the dtype of the arithmetic (the real part's if they are real).

    Integers: wrapped modulo 2**w, and only whole numbers are taken (TypeError).
    """
    weights = np.asarray(weights)
    if dtype.kind in "iu":
        if weights.dtype.kind not in "iu":
            whole = weights.real.astype(np.int64)
            if not np.array_equal(whole, weights):
                raise TypeError("integers can only be combined with whole numbers as weights")
            weights = whole
        return weights.astype(dtype)
    if not np.isfinite(weights).all():
        raise ValueError("weights must be finite")
    if weights.dtype.kind == "c" and dtype.kind != "c":
        raise TypeError(f"complex weights cannot combine to {dtype}")
    return weights.astype(dtype if weights.dtype.kind == "c" else real_dtype(dtype))


def empty_like(block: Block, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Block:
    """Return a new array whose last axes lie in memory as those of `block` do."""
    extra = len(shape) - block.ndim
    order = [*range(extra), *(extra + d for d in memory_order(block))]
    result = fresh(tuple(shape[d] for d in order), dtype, like=block)
    return result if order == sorted(order) else result.transpose(np.argsort(order))
