"""Encode, decode and combine blocks on a device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dask_coded.errors import DecodeRefused
from dask_coded.kernels.accuracy import ErrorEstimate, RowNorms
from dask_coded.kernels.devices import Backend, backend_of
from dask_coded.kernels.dtypes import real_dtype
from dask_coded.kernels.groups import RowGroups
from dask_coded.kernels.on_device.mixing import Column, Result, mix
from dask_coded.kernels.on_device.shapes import Walk, in_memory_order, new_block

__all__ = ["combine", "decode_rows", "encode"]

Weights = NDArray[Any]

MOST_ROWS = 1 << 16  # of a group whose norms are held at a time: tens of MiB where rows are short


def combine(weights: Weights, blocks: Sequence[Any], dtype: np.dtype[Any], out: Any = None) -> Any:
    """Return ``result[s] = sum_j weights[s, j] * blocks[j]``, in `out` if it is given."""
    backend = backend_of([*blocks, *([] if out is None else [out])])
    shape = blocks[0].shape
    order, used = in_memory_order(backend, blocks)
    if out is not None and _takes_directly(backend, out, used, dtype, order):
        result = view = out
    else:
        result, view = new_block(backend, (len(weights), *shape), (0, *(1 + d for d in order)), dtype)
    size = prod(shape)
    columns = [Column(backend.address(block), 0, size, size, block.dtype) for block in used]
    start = backend.address(result)
    results = [Result(start + s * size * dtype.itemsize, 0, size, size) for s in range(len(weights))]
    _mix_used(backend, weights, columns, results, dtype, Walk(1, 1, size), result)
    if out is None or view is out:
        return view
    out[...] = view
    return out


def _takes_directly(
    backend: Backend, out: Any, blocks: Sequence[Any], dtype: np.dtype[Any], order: tuple[int, ...]
) -> bool:
    """Tell whether results may be written where `out` is while the blocks are read."""
    if out.dtype != dtype or not out.flags.c_contiguous or order != tuple(range(len(order))):
        return False
    start = backend.address(out)
    places = [(backend.address(block), block.nbytes) for block in blocks]
    return all(place + size <= start or start + out.nbytes <= place for place, size in places)


def encode(weights: Weights, groups: RowGroups, length: int) -> Any:
    """Return one parity block of `length` rows."""
    placed = Placed.of(groups)
    result, view = placed.new_block(groups.blocks[0].shape, length)
    columns, results = placed.columns(0, groups.size), placed.results(result, length, None, 0, groups.size)
    kept = [place for place, column in enumerate(columns) if column.limit]
    walk, columns = placed.walk(0, groups.size), [columns[c] for c in kept]
    _mix_used(placed.backend, weights[:, kept], columns, results, groups.dtype, walk, result)
    return view


def _mix_used(
    backend: Backend,
    weights: Weights,
    columns: Sequence[Column],
    results: Sequence[Result],
    dtype: np.dtype[Any],
    walk: Walk,
    whole: Any,
) -> None:
    """Mix the columns that have weights other than zero; without any `whole` becomes zero."""
    used = np.flatnonzero(weights.any(axis=0)).tolist()
    if not used:
        whole[...] = 0
    elif walk.planes and walk.rows and walk.inner:
        mix(backend, weights[:, used], [columns[c] for c in used], results, dtype, walk)


def decode_rows(
    weights: Weights,
    groups: RowGroups,
    shape: tuple[int, ...],
    back: Any,
    estimate: ErrorEstimate | None,
) -> Any:
    """Return the block of this shape; take the errors in (see `kernels.blocks`)."""
    placed, rows = Placed.of(groups), shape[groups.axis]
    result, view = placed.new_block(shape, rows)
    if not prod(shape):
        return view
    (divisors,) = _on_device(placed.backend, [back])
    most = groups.size if estimate is None else MOST_ROWS
    for start in range(0, groups.size, most):
        stop = min(start + most, groups.size)
        results = placed.results(result, rows, divisors, start, stop)
        results = [each for each in results if each.limit]  # the others are past the last row
        if results and estimate is not None:
            _measured(placed, weights[: len(results)], results, rows, estimate, start, stop)
        elif results:
            columns, walk = placed.columns(start, stop), placed.walk(start, stop)
            part = weights[: len(results)]
            _mix_used(placed.backend, part, columns, results, groups.dtype, walk, result)
    return view


def _measured(
    placed: Placed,
    weights: Weights,
    results: Sequence[Result],
    rows: int,
    estimate: ErrorEstimate,
    start: int,
    stop: int,
) -> None:
    """Make the results in the rows [start, stop) of every group, and judge them."""
    groups, columns = placed.groups, placed.columns(start, stop)
    read = [c for c, column in enumerate(columns) if column.limit and weights[:, c].any()]
    read = read or [0]  # something has to be there to be measured
    weights, columns = weights[:, read], [columns[c] for c in read]
    walk = placed.walk(start, stop)
    table = mix(placed.backend, weights, columns, results, groups.dtype, walk, measured=True)
    assert table is not None
    if np.isnan(table.factors).any() or np.isnan(table.divisors).any():
        raise DecodeRefused(f"exponents of rows reach further than {groups.dtype} holds")
    lengths = [groups.blocks[c // groups.cuts].shape[groups.axis] for c in read]
    width = walk.planes * walk.inner
    # Segments of rows that the same groups have.
    for first, last in groups.segments(rows, MOST_ROWS):
        first, last = max(first, start), min(last, stop)
        wanted = groups.groups_with(last, rows)
        there = [
            place
            for place, (c, length) in enumerate(zip(read, lengths, strict=True))
            if c % groups.cuts < groups.groups_with(last, length) and weights[:wanted, place].any()
        ]
        if first >= last or not wanted or not there:  # nothing is made here, or zeros of nothing
            continue
        window = slice(first - start, last - start)
        norms = RowNorms(len(there), wanted, last - first, table.divisors[:wanted, window])
        norms.sources[...] = table.columns[there, window]
        norms.results[...] = table.results[:wanted, window]
        factors = [table.factors[place, window] for place in there]
        dtypes = [columns[place].dtype for place in there]
        estimate.add(weights[:wanted, there], norms, dtypes, factors, width)


@dataclass(frozen=True)
class Placed:
    """Groups of rows as the kernels see them; holds on to all that they read.

    Parameters
    ----------
    backend : Backend
        Where they are.
    groups : RowGroups
        What was asked for.
    order : tuple of int
        Axes as they lie in memory.
    blocks, factors : sequences
        In C order, on the device.
    """

    backend: Backend
    groups: RowGroups
    order: tuple[int, ...]
    blocks: Sequence[Any]
    factors: Sequence[Any]

    @classmethod
    def of(cls, groups: RowGroups) -> Placed:
        """Bring blocks in order and factors up."""
        backend = backend_of(groups.blocks)
        order, blocks = in_memory_order(backend, groups.blocks)
        return cls(backend, groups, order, blocks, _on_device(backend, groups.factors))

    def new_block(self, shape: Sequence[int], rows: int) -> tuple[Any, Any]:
        """Return a new block with so many rows, as it lies in memory and in the order of the axes."""
        axis = self.groups.axis
        return new_block(
            self.backend, (*shape[:axis], rows, *shape[axis + 1 :]), self.order, self.groups.dtype
        )

    def walk(self, start: int, stop: int) -> Walk:
        """Return the walk over the rows [start, stop) of a group."""
        shape = [self.groups.blocks[0].shape[axis] for axis in self.order]
        return Walk.over(shape, self.order.index(self.groups.axis))._replace(rows=stop - start)

    def columns(self, start: int, stop: int) -> list[Column]:
        """Return the rows [start, stop) of all groups of all blocks; where there are none they are empty."""
        columns = []
        for original, block, factor in zip(self.groups.blocks, self.blocks, self.factors, strict=True):
            rows = original.shape[self.groups.axis]
            parts = self._parts(block, rows, block.dtype.itemsize, factor, start, stop)
            columns += [Column(*part, block.dtype) for part in parts]
        return columns

    def results(self, result: Any, rows: int, divisors: Any, start: int, stop: int) -> list[Result]:
        """Return the rows [start, stop) of all groups of a result that has `rows`."""
        parts = self._parts(result, rows, self.groups.dtype.itemsize, divisors, start, stop)
        return [Result(*part) for part in parts]

    def _parts(
        self, block: Any, rows: int, itemsize: int, scales: Any, start: int, stop: int
    ) -> Iterator[tuple[int, int, int, int]]:
        """Yield for each group where it begins, where its scales do, elements of a plane, and those there."""
        place, inner = self.backend.address(block), self.walk(start, stop).inner
        scale = 0 if scales is None else self.backend.address(scales)
        step = real_dtype(self.groups.dtype).itemsize
        for t in range(self.groups.cuts):
            first = t * self.groups.size + start
            there = min(max(rows - first, 0), stop - start) * inner
            yield place + first * inner * itemsize, scale and scale + first * step, rows * inner, there


def _on_device(backend: Backend, factors: Sequence[Any]) -> list[Any]:
    """Return factors where the kernels can read them."""
    return [backend.upload(each) if isinstance(each, np.ndarray) else each for each in factors]
