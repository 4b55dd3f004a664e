"""The linear operations: which functions keep the lanes of a coded array apart.

Each rule says what a function makes of symbolic blocks. It must raise `Barrier`
unless the result is linear in the coded blocks together, and row i of the result along
the coded axis depends on row i of the blocks alone, in the same way for every row.
A symbol that is *affine* is linear up to numbers that are the same for all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from dask.tokenize import normalize_token

from dask_coded.graph.moves import alike_along, axis_numbers, kept, merged, operation, shape_of
from dask_coded.graph.symbols import Barrier, Symbol, result_dtype

__all__ = ["Linear"]

Rule = Callable[..., Symbol]


def _elementwise(func: Any) -> Rule:
    return lambda x: x.coded().like(dtype=result_dtype(func, x))


def _is_coded(x: Any) -> bool:
    return isinstance(x, Symbol) and x.axis is not None


def _broadcast(*operands: Any) -> tuple[int, ...]:
    shapes = [shape_of(x) for x in operands]
    ndim = max(map(len, shapes))
    columns = zip(*((1,) * (ndim - len(shape)) + shape for shape in shapes), strict=True)
    return tuple(next((n for n in column if n != 1), 1) for column in columns)


def _scaled(func: Any, swaps: bool) -> Rule:
    def rule(x: Any, y: Any, **kwargs: Any) -> Symbol:
        block: Symbol
        block, other = (x, y) if _is_coded(x) else (y, x)
        if _is_coded(other):
            raise Barrier("the product of two coded arrays, element by element")
        if block is y and not swaps:
            raise Barrier("division by a coded array")
        from_end = block.from_end
        if not alike_along(other, from_end):
            raise Barrier("factors that differ along the coded axis")
        shape = _broadcast(x, y)
        return block.like(shape=shape, axis=len(shape) - from_end, dtype=result_dtype(func, x, y))

    return rule


def _added(func: Any) -> Rule:
    def rule(x: Any, y: Any, **kwargs: Any) -> Symbol:
        dtype = result_dtype(func, x, y)
        if not (_is_coded(x) and _is_coded(y)):
            block, other = (x, y) if _is_coded(x) else (y, x)
            if isinstance(other, Symbol) or np.any(other):
                return _shifted(block, other, dtype)
            other = Symbol(np.shape(other), np.asarray(other).dtype)
            x, y = (block, other) if _is_coded(x) else (other, block)
        ends = {z.from_end for z in (x, y) if _is_coded(z)}
        lengths = {(z.length, z.summed) for z in (x, y) if _is_coded(z)}
        if len(ends) > 1 or len(lengths) > 1:
            raise Barrier("a sum of two arrays whose coded axes do not meet")
        shape = _broadcast(x, y)
        return merged([x, y], shape, len(shape) - ends.pop(), dtype)

    return rule


def _shifted(block: Symbol, other: Any, dtype: np.dtype[Any]) -> Symbol:
    """Return a block to which numbers are added that it shares with the blocks of all rows."""
    if block.summed:
        raise Barrier("numbers added to sums over the coded axis")
    if not alike_along(other, block.from_end):
        raise Barrier(
            "a sum with something that has no parity in common: encode the sum, add the products, "
            "or encode both with scale=False"
        )
    if dtype.kind not in "fc":
        raise Barrier("numbers added to integers: encode the array as floats")
    shape = _broadcast(block, other)
    return block.like(shape=shape, axis=len(shape) - block.from_end, dtype=dtype, affine=True, shifted=True)


def _reduced(func: Any) -> Rule:
    def rule(
        x: Symbol, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False
    ) -> Symbol:
        gone = axis_numbers(axis, x.ndim)
        if x.coded().axis in gone and keepdims is True:
            x = _rows_summed(x)
        shape, left = kept(x, gone, keepdims is True)
        kind = np.dtype(dtype) if dtype is not None else result_dtype(func, x)
        return x.like(shape=shape, axis=left, dtype=kind, work=True, addends=_addends(x, gone))

    return rule


def _addends(block: Symbol, axes: Sequence[int]) -> int:
    """Return how many numbers make one after a sum along `axes`, the coded one not counted."""
    return block.addends * prod(max(block.shape[d], 1) for d in axes if d != block.axis)


def _rows_summed(block: Symbol) -> Symbol:
    """Return the sum of a block's rows along the coded axis, as its only one."""
    if block.summed:
        return block
    if not block.unscaled:
        raise Barrier(
            "a reduction over the coded axis, whose rows are scaled in parity "
            "(encode(x, scale=False) leaves them)"
        )
    if block.affine:
        raise Barrier("a sum over the coded axis of what numbers were added to")
    shape = [1 if d == block.axis else n for d, n in enumerate(block.shape)]
    return block.like(shape=shape, uniform=True, ragged=False, summed=True)


def _running(func: Any) -> Rule:
    def rule(x: Symbol, axis: Any = None, dtype: Any = None, out: None = None) -> Symbol:
        if axis is None or axis_numbers(axis, x.ndim)[0] == x.coded().axis:
            raise Barrier("a running sum along the coded axis")
        kind = np.dtype(dtype) if dtype is not None else result_dtype(func, x)
        return x.like(dtype=kind, work=True, addends=_addends(x, axis_numbers(axis, x.ndim)))

    return rule


def _matmul(x: Any, y: Any, **kwargs: Any) -> Symbol:
    block: Symbol
    block, other, left = (x, y, True) if _is_coded(x) else (y, x, False)
    if _is_coded(other):
        raise Barrier("the product of two coded arrays")
    other_shape = shape_of(other)
    if block.ndim < 2 or len(other_shape) < 2:
        raise Barrier("a product of vectors in one block")
    if block.axis == block.ndim - (1 if left else 2):
        raise Barrier("a product that contracts the coded axis")
    batch = _broadcast(np.broadcast_to(0, block.shape[:-2]), np.broadcast_to(0, other_shape[:-2]))
    from_end = block.from_end
    if from_end > 2 and not alike_along(other, from_end):
        raise Barrier("factors that differ along the coded axis")
    ends = (block.shape[-2], other_shape[-1]) if left else (other_shape[-2], block.shape[-1])
    return block.like(
        shape=(*batch, *ends), axis=len(batch) + 2 - from_end, dtype=result_dtype(np.matmul, x, y), work=True
    )


def _tensordot(a: Any, b: Any, axes: Any = 2) -> Symbol:
    block: Symbol
    block, other = (a, b) if _is_coded(a) else (b, a)
    if _is_coded(other):
        raise Barrier("the product of two coded arrays")
    ndims = len(shape_of(a)), len(shape_of(b))
    if isinstance(axes, int | np.integer):
        axes = range(ndims[0] - axes, ndims[0]), range(axes)
    gone = [axis_numbers(axis, ndim) for axis, ndim in zip(axes, ndims, strict=True)]
    remaining = [[d for d in range(ndim) if d not in g] for ndim, g in zip(ndims, gone, strict=True)]
    side = 0 if block is a else 1
    if block.axis in gone[side]:
        raise Barrier("a product that contracts the coded axis")
    shape = [shape_of(x)[d] for x, axis in zip((a, b), remaining, strict=True) for d in axis]
    axis = remaining[side].index(block.along) + side * len(remaining[0])
    kind = np.result_type(*(x.dtype for x in (a, b)))
    return block.like(shape=shape, axis=axis, dtype=kind, work=True)


def _einsum(subscripts: str, *operands: Any, **kwargs: Any) -> Symbol:
    if kwargs.get("dtype") is not None or "..." in subscripts or "->" not in subscripts:
        raise Barrier("einsum with a dtype of its own, or with subscripts that are not spelt out")
    inputs, output = subscripts.replace(" ", "").split("->")
    names = inputs.split(",")
    coded = [i for i, x in enumerate(operands) if _is_coded(x)]
    if len(coded) != 1:
        raise Barrier("the product of two coded arrays")
    block: Symbol
    block, letters = operands[coded[0]], names[coded[0]]
    letter = letters[block.along]
    if letter not in output or letters.count(letter) > 1:
        raise Barrier("a product that contracts the coded axis")
    for name, other in zip(names, operands, strict=True):
        if other is not block and letter in name and not alike_along(other, len(name) - name.index(letter)):
            raise Barrier("factors that differ along the coded axis")
    sizes: dict[str, int] = {}
    for name, other in zip(names, operands, strict=True):
        for one, n in zip(name, shape_of(other), strict=True):
            sizes[one] = n if sizes.get(one, 1) == 1 else sizes[one]
    kind = np.result_type(*(x.dtype for x in operands))
    return block.like(shape=[sizes[c] for c in output], axis=output.index(letter), dtype=kind, work=True)


def _fourier(func: Any) -> Rule:
    def rule(a: Symbol, n: Any = None, axis: int = -1, norm: Any = None) -> Symbol:
        along = axis % a.ndim
        if along == a.coded().axis:
            raise Barrier("a Fourier transform along the coded axis")
        length = func(np.ones(max(a.shape[along], 2), a.dtype), n).shape[0]
        shape = [length if d == along else size for d, size in enumerate(a.shape)]
        return a.like(shape=shape, dtype=result_dtype(lambda x: func(np.ravel(x), 2), a), work=True)

    return rule


class Linear:
    """A function that its user declares linear in its first argument.

    Parameters
    ----------
    func : callable
        Takes a block and returns one of as many axes.
    along : frozenset of int
        Axes that it works along. Along all others it treats every row alike.
    """

    def __init__(self, func: Callable[..., Any], along: frozenset[int]) -> None:
        self.func, self.along = func, along
        self.__name__ = getattr(func, "__name__", type(func).__name__)

    def __repr__(self) -> str:
        return f"linear({self.__name__}, along={sorted(self.along)})"

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return "Linear", normalize_token(self.func), tuple(sorted(self.along))

    def __call__(self, block: Any, *args: Any, **kwargs: Any) -> Any:
        """Return what the function makes of a block."""
        if not isinstance(block, Symbol):
            return self.func(block, *args, **kwargs)
        along = {axis % block.ndim for axis in self.along}
        if any(map(_is_coded, (*args, *kwargs.values()))):
            raise Barrier(f"{self.__name__} takes a coded block as a further argument")
        if block.coded().axis in along:
            raise Barrier(f"{self.__name__} works along the coded axis")
        shape = [-1 if d in along else n for d, n in enumerate(block.shape)]
        return block.like(shape=shape, work=True)


for _func in (np.negative, np.positive, np.conjugate, np.real, np.imag):
    operation(_func, rule=_elementwise(_func))
operation(np.multiply, rule=_scaled(np.multiply, swaps=True))
operation(np.true_divide, rule=_scaled(np.true_divide, swaps=False))
operation(np.add, rule=_added(np.add))
operation(np.subtract, rule=_added(np.subtract))
operation(np.sum, rule=_reduced(np.sum))
operation(np.cumsum, rule=_running(np.cumsum))
operation(np.matmul, rule=_matmul)
operation(np.tensordot, rule=_tensordot)
operation(np.einsum, rule=_einsum)
_transform: Any
for _transform in (np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.hfft, np.fft.ihfft):
    operation(_transform, rule=_fourier(_transform))
