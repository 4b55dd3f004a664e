"""Blocks, weights and memory layouts that the kernel tests share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels import decode_block, encode_block, parity_dtype, row_levels

Block = NDArray[Any]

FLOATS = ("float32", "float64", "complex64", "complex128")
INTEGERS = ("int8", "uint8", "int32", "uint32", "int64", "uint64")
LAYOUTS = ("C", "F", "strided", "reversed", "swapped")


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Block:
    """Return random values: over the whole ring for integers, near 1 for floats."""
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def lay_out(block: Block, layout: str) -> Block:
    """Return equal values in another place, read-only."""
    if layout == "F" and block.ndim:
        result = np.asfortranarray(block)
    elif layout == "strided" and block.ndim:
        wide = np.zeros((*block.shape[:-1], 2 * block.shape[-1]), block.dtype)
        wide[..., ::2] = block
        result = wide[..., ::2]
    elif layout == "reversed" and block.ndim:
        result = np.ascontiguousarray(block[::-1])[::-1]
    elif layout == "swapped" and block.ndim > 1:
        result = np.ascontiguousarray(block.swapaxes(0, -1)).swapaxes(0, -1)
    else:
        result = np.array(block)
    result.flags.writeable = False
    return result


def wide_type(dtype: Any) -> Any:
    """Return the type in which the tests judge results of `dtype`."""
    return np.clongdouble if np.dtype(dtype).kind == "c" else np.longdouble


def worst_row(found: Block, true: Block, axis: int) -> float:
    """Return the worst relative error of a row, 2-norm, rows of zeros exact."""
    others = tuple(d for d in range(true.ndim) if d != axis)
    wide = true.astype(wide_type(true.dtype))
    error = np.sqrt((np.abs(found.astype(wide.dtype) - wide) ** 2).sum(axis=others))
    size = np.sqrt((np.abs(wide) ** 2).sum(axis=others))
    with np.errstate(all="ignore"):
        return float(np.where(error == 0, 0, error / size).max(initial=0))


@dataclass
class Case:
    """k blocks, r parity blocks of m groups, generator coefficients, maybe row levels."""

    blocks: list[Block]
    coefficients: Block  # (r, m, k * m)
    length: int
    axis: int = 0
    levels: list[Any] | None = None

    def __post_init__(self) -> None:
        self.m = self.coefficients.shape[1]
        self.dtype = self.blocks[0].dtype
        kept = parity_dtype(self.dtype, self.dtype)
        self.parity = [
            encode_block(c, self.blocks, self.levels, axis=self.axis, length=self.length, dtype=kept)
            for c in self.coefficients
        ]

    def decode(self, lost: list[int], wanted: int, tolerance: float = 1e30, **kwargs: Any) -> Any:
        """Decode one of the lost blocks from the others and as many parities."""
        k, m = len(self.blocks), self.m
        rows = [np.eye(k * m)[i * m : (i + 1) * m] for i in range(k) if i not in lost]
        rows += list(self.coefficients[: len(lost)])
        target = np.eye(k * m)[wanted * m : (wanted + 1) * m]
        weights = target @ inverse(np.concatenate(rows))
        return decode_block(
            weights,
            [block for i, block in enumerate(self.blocks) if i not in lost] + self.parity[: len(lost)],
            [i for i in range(k) if i not in lost] + [-1] * len(lost),
            self.levels,
            axis=self.axis,
            length=self.length,
            shape=self.blocks[wanted].shape,
            dtype=self.dtype,
            tolerance=tolerance,
            target=wanted if self.levels is not None else -1,
            with_bound=True,
            **kwargs,
        )


def inverse(matrix: Block) -> Block:
    """Return the inverse to the last digit; the error of a plain one can exceed the decode's own."""
    exact = np.linalg.inv(matrix).astype(np.longdouble)
    for _ in range(2):
        exact = exact + exact @ (np.eye(len(matrix)) - matrix.astype(np.longdouble) @ exact)
    return exact.astype(np.float64)


def ones(k: int, m: int = 1) -> Block:
    """Single parity: the sum."""
    return np.tile(np.eye(m), k)[np.newaxis]


def double(k: int, m: int, rng: np.random.Generator) -> Block:
    """Double parity: sum, and signed permutations (m > 1) or angles (m = 1) of the row groups."""
    if m == 1:
        angles = np.pi * (np.arange(k) + 0.5) / k
        return np.stack([np.cos(angles), np.sin(angles)])[:, np.newaxis]
    units = [np.linalg.qr(rng.standard_normal((m, m)))[0] for _ in range(k)]
    return np.stack([np.tile(np.eye(m), k), np.concatenate(units, axis=1)])


def levels_of(blocks: list[Block], axis: int) -> list[Any]:
    """Return the row levels of each block by itself."""
    return [row_levels(block, axis) for block in blocks]


def ragged(
    rng: np.random.Generator, k: int, shape: tuple[int, ...], axis: int, dtype: str, least: int
) -> list[Block]:
    """Return k blocks of differing lengths, the first of full length."""
    blocks = []
    for i in range(k):
        size = shape[axis] if i == 0 else int(rng.integers(least, shape[axis] + 1))
        blocks.append(draw(rng, (*shape[:axis], size, *shape[axis + 1 :]), dtype))
    return blocks
