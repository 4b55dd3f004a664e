"""Encode, decode and combine blocks on a device."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dask_coded.errors import DecodeRefused
from dask_coded.kernels.accuracy import ErrorEstimate, RowNorms
from dask_coded.kernels.devices import Backend, backend_of
from dask_coded.kernels.dtypes import real_dtype
from dask_coded.kernels.groups import RowGroups
from dask_coded.kernels.on_device.mixing import Column, Result, Table, mix
from dask_coded.kernels.on_device.shapes import Walk, in_memory_order, new_block

__all__ = ["combine", "decode_rows", "encode"]

Weights = NDArray[Any]


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
    backend = backend_of(groups.blocks)
    shape = _with_rows(groups, groups.blocks[0].shape, length)
    order, blocks = in_memory_order(backend, groups.blocks)
    result, view = new_block(backend, shape, order, groups.dtype)
    walk = _walk(groups, order, shape)
    columns = _columns(backend, groups, blocks, _on_device(backend, groups.factors), walk)
    results = _results(backend, groups, result, walk, length)
    kept = [place for place, column in enumerate(columns) if column.limit]
    _mix_used(backend, weights[:, kept], [columns[c] for c in kept], results, groups.dtype, walk, result)
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
    backend = backend_of(groups.blocks)
    order, blocks = in_memory_order(backend, groups.blocks)
    result, view = new_block(backend, shape, order, groups.dtype)
    if not prod(shape):
        return view
    walk, rows = _walk(groups, order, shape), shape[groups.axis]
    factors, (divisors,) = _on_device(backend, groups.factors), _on_device(backend, [back])
    columns = _columns(backend, groups, blocks, factors, walk)
    results = _results(backend, groups, result, walk, rows, divisors)
    made = [s for s, each in enumerate(results) if each.limit]
    weights, results = weights[made], [results[s] for s in made]
    if estimate is None:
        _mix_used(backend, weights, columns, results, groups.dtype, walk, result)
        return view
    read = [c for c, column in enumerate(columns) if column.limit and weights[:, c].any()]
    if not read:
        read = [0]  # something has to be measured
    weights = weights[:, read]
    table = mix(backend, weights, [columns[c] for c in read], results, groups.dtype, walk, measured=True)
    assert table is not None
    dtypes = [groups.blocks[c // groups.cuts].dtype for c in read]
    _take_in(estimate, groups, weights, read, dtypes, table, rows, prod(shape) // rows)
    return view


def _take_in(
    estimate: ErrorEstimate,
    groups: RowGroups,
    weights: Weights,
    read: Sequence[int],
    dtypes: Sequence[np.dtype[Any]],
    table: Table,
    rows: int,
    width: int,
) -> None:
    """Judge what was measured, in segments of rows that the same groups have."""
    if np.isnan(table.factors).any() or np.isnan(table.divisors).any():
        raise DecodeRefused(f"exponents of rows reach further than {groups.dtype} holds")
    lengths = [block.shape[groups.axis] for block in groups.blocks]
    for start, stop in groups.segments(rows, max(rows, 1)):
        wanted = groups.groups_with(stop, rows)
        there = [
            place
            for place, c in enumerate(read)
            if c % groups.cuts < groups.groups_with(stop, lengths[c // groups.cuts])
            and weights[:wanted, place].any()
        ]
        if not wanted or not there:  # nothing is made here, or zeros of nothing
            continue
        norms = RowNorms(len(there), wanted, stop - start, table.divisors[:wanted, start:stop])
        norms.sources[...] = table.columns[there, start:stop]
        norms.results[...] = table.results[:wanted, start:stop]
        factors = [table.factors[place, start:stop] for place in there]
        estimate.add(weights[:wanted, there], norms, [dtypes[place] for place in there], factors, width)


def _with_rows(groups: RowGroups, shape: Sequence[int], rows: int) -> tuple[int, ...]:
    return (*shape[: groups.axis], rows, *shape[groups.axis + 1 :])


def _walk(groups: RowGroups, order: tuple[int, ...], shape: Sequence[int]) -> Walk:
    """Return the walk over one group of rows of a block of this shape, but for its number of rows."""
    return Walk.over([shape[d] for d in order], order.index(groups.axis))._replace(rows=groups.size)


def _on_device(backend: Backend, factors: Sequence[Any]) -> list[Any]:
    """Return factors where the kernels can read them."""
    return [backend.upload(each) if isinstance(each, np.ndarray) else each for each in factors]


def _columns(
    backend: Backend, groups: RowGroups, blocks: Sequence[Any], factors: Sequence[Any], walk: Walk
) -> list[Column]:
    """Return all groups of rows of all blocks; those past the end of a block are empty."""
    columns = []
    step = groups.size * real_dtype(groups.dtype).itemsize
    for original, block, factor in zip(groups.blocks, blocks, factors, strict=True):
        rows = original.shape[groups.axis]
        start = backend.address(block)
        scale = 0 if factor is None else backend.address(factor)
        for t in range(groups.cuts):
            there = min(max(rows - t * groups.size, 0), groups.size) * walk.inner
            place = start + t * groups.size * walk.inner * block.dtype.itemsize
            columns.append(Column(place, scale and scale + t * step, rows * walk.inner, there, block.dtype))
    return columns


def _results(
    backend: Backend, groups: RowGroups, result: Any, walk: Walk, rows: int, divisors: Any = None
) -> list[Result]:
    """Return all groups of rows of the result, which has `rows`."""
    results = []
    start, back = backend.address(result), 0 if divisors is None else backend.address(divisors)
    step = groups.size * real_dtype(groups.dtype).itemsize
    for s in range(groups.cuts):
        there = min(max(rows - s * groups.size, 0), groups.size) * walk.inner
        place = start + s * groups.size * walk.inner * groups.dtype.itemsize
        results.append(Result(place, back and back + s * step, rows * walk.inner, there))
    return results
