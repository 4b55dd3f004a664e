"""Linear operations that only move numbers: transposition, indexing, joining blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from dask_coded.graph.symbols import RULES, Barrier, Symbol

__all__ = ["alike_along", "axis_numbers", "kept", "merged", "operation", "shape_of"]


def operation(*functions: Any, rule: Callable[..., Symbol]) -> None:
    """Register functions of NumPy as linear."""
    RULES.update(dict.fromkeys(functions, rule))


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of a symbol, an array or a number."""
    return x.shape if isinstance(x, Symbol) else tuple(np.shape(x))


def alike_along(other: Any, axis_from_end: int) -> bool:
    """Tell whether an operand that is not coded has one value for all rows of the coded axis."""
    shape = shape_of(other)
    if axis_from_end > len(shape) or shape[-axis_from_end] == 1:
        return True
    if isinstance(other, Symbol):
        return False
    values = np.asarray(other)
    return bool((values == values.take([0], axis=-axis_from_end)).all())


def merged(blocks: Sequence[Symbol], shape: Sequence[int], axis: int, dtype: Any) -> Symbol:
    """Return what is made of several blocks together."""
    coded = [block for block in blocks if block.axis is not None]
    affine = [block for block in blocks if block.affine]
    return Symbol(
        shape,
        dtype,
        axis,
        work=any(block.work for block in coded),
        unit=max(block.unit for block in coded),
        uniform=all(block.uniform for block in coded),
        ragged=all(block.ragged for block in coded),
        affine=bool(affine),
        shifted=bool(affine) and all(block.shifted for block in affine),
        constant=all(block.constant for block in coded),
        unscaled=all(block.unscaled for block in coded),
        summed=any(block.summed for block in coded),
        addends=max(block.addends for block in coded),
    )


def axis_numbers(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes that an `axis` argument means, counted from the front."""
    given = range(ndim) if axis is None else (axis,) if isinstance(axis, int | np.integer) else axis
    return tuple(int(one) % ndim for one in given)


def kept(block: Symbol, gone: Sequence[int], keepdims: bool) -> tuple[list[int], int]:
    """Return shape and coded axis after a reduction over the axes `gone`."""
    if block.coded().axis in gone and not (keepdims and block.summed):
        raise Barrier("a reduction over the coded axis")
    assert block.axis is not None
    if keepdims:
        return [1 if d in gone else n for d, n in enumerate(block.shape)], block.axis
    kept = [d for d in range(block.ndim) if d not in gone]
    return [block.shape[d] for d in kept], kept.index(block.axis)


def _transposed(x: Symbol, axes: Any = None) -> Symbol:
    order = axis_numbers(axes, x.ndim) if axes is not None else tuple(reversed(range(x.ndim)))
    return x.like(shape=[x.shape[d] for d in order], axis=order.index(x.coded().along))


def _squeezed(x: Symbol, axis: Any = None) -> Symbol:
    gone = axis_numbers(axis, x.ndim) if axis is not None else [d for d, n in enumerate(x.shape) if n == 1]
    shape, left = kept(x, gone, False)
    return x.like(shape=shape, axis=left)


def _expanded(x: Symbol, axis: Any) -> Symbol:
    count = 1 if isinstance(axis, int | np.integer) else len(axis)
    new = axis_numbers(axis, x.ndim + count)
    index = tuple(None if d in new else slice(None) for d in range(x.ndim + count))
    return x[index]


def _concatenated(arrays: Sequence[Any], axis: int = 0, **kwargs: Any) -> Symbol:
    blocks = [block if isinstance(block, Symbol) else _constant(block) for block in arrays]
    first = next(block for block in blocks if block.axis is not None)
    along = axis % first.ndim
    if len(blocks) == 1:
        return first
    if along == first.axis:
        raise Barrier("concatenation along the coded axis")
    assert first.axis is not None
    for block, given in zip(blocks, arrays, strict=True):
        if block.axis is None and isinstance(given, Symbol):
            raise Barrier("blocks that are not coded are joined to it")
        if block.axis is None and not (_may_join(first) and alike_along(given, first.from_end)):
            raise Barrier("concatenation with numbers that are not coded")
        if block.axis is None and block.affine and first.summed:
            raise Barrier("sums over the coded axis are joined to numbers")
        if block.axis not in (None, first.axis) or block.shape[first.axis] != first.length:
            raise Barrier("concatenation of arrays whose coded axes do not meet")
        if block.axis is not None and block.summed != first.summed:
            raise Barrier("concatenation of arrays whose coded axes do not meet")
    shape = list(first.shape)
    lengths = [block.shape[along] for block in blocks]
    shape[along] = -1 if -1 in lengths else sum(lengths)
    return merged(blocks, shape, first.axis, np.result_type(*(block.dtype for block in blocks)))


def _may_join(block: Symbol) -> bool:
    """Tell whether numbers that fit a block fit parity too."""
    return block.uniform or block.ragged


def _constant(values: Any) -> Symbol:
    dtype, shifts = np.asarray(values).dtype, bool(np.any(values))
    if shifts and dtype.kind not in "fc":
        raise Barrier("concatenation with numbers that are not coded")
    return Symbol(np.shape(values), dtype, affine=shifts)


def _stacked(arrays: Sequence[Any], axis: int = 0, **kwargs: Any) -> Symbol:
    return _concatenated([_expanded(block.coded(), axis) for block in arrays], axis=axis)


def _taken(x: Symbol, indices: Any, axis: Any = None, **kwargs: Any) -> Symbol:
    if axis is None:
        raise Barrier("indexing of the coded axis")
    index: list[Any] = [slice(None)] * x.coded().ndim
    index[axis] = indices
    return x[tuple(index)]


def _repeated(x: Symbol, repeats: Any, axis: Any = None) -> Symbol:
    along = axis_numbers(axis, x.ndim)
    if x.coded().axis in along or not isinstance(repeats, int | np.integer):
        raise Barrier("repetition along the coded axis, or by other numbers than one")
    return x.like(shape=[n * int(repeats) if d in along and n >= 0 else n for d, n in enumerate(x.shape)])


def _reshaped(x: Symbol, shape: Any, **kwargs: Any) -> Symbol:
    before = prod(x.shape[: x.coded().axis])
    new = list(shape) if isinstance(shape, tuple | list) else [shape]
    if -1 in new and x.size >= 0:
        new[new.index(-1)] = x.size // -prod(new)
    axis = next((d for d, n in enumerate(new) if prod(new[:d]) == before and n == x.length), None)
    if axis is None or -1 in x.shape or prod(new) != x.size:
        raise Barrier("a change of shape that mixes rows of the coded axis")
    if not x.uniform and not x.shape == tuple(new[: x.ndim]):
        raise Barrier("a change of shape for blocks of other lengths than this one's")
    return x.like(shape=new, axis=axis)


def _broadcast_to(x: Symbol, shape: Any, **kwargs: Any) -> Symbol:
    from_end = x.coded().from_end
    if not x.uniform or shape[-from_end] != x.length:
        raise Barrier("broadcasting to a given number of rows")
    return x.like(shape=shape, axis=len(shape) - from_end)


operation(np.transpose, rule=_transposed)
operation(np.squeeze, rule=_squeezed)
operation(np.expand_dims, rule=_expanded)
operation(np.concatenate, rule=_concatenated)
operation(np.stack, rule=_stacked)
operation(np.take, rule=_taken)
operation(np.repeat, rule=_repeated)
operation(np.reshape, rule=_reshaped)
operation(np.broadcast_to, rule=_broadcast_to)
