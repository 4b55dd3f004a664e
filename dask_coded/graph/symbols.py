"""Symbolic blocks: what a task does to a coded block, found out by running it on one.

A task of dask.array calls functions of NumPy, and these ask their arguments what to do
(NEP 13, NEP 18). A `Symbol` answers with what is left of the coded axis, or raises
`Barrier` where the result is not linear in the block, or where it depends on the
order or number of its rows along the coded axis. No number is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

__all__ = ["RULES", "Barrier", "Symbol", "result_dtype"]


class Barrier(Exception):
    """The lanes of a coded array end before this operation; the text says why."""


class Symbol(NDArrayOperatorsMixin):
    """A block of which only shape, dtype and coded axis are known.

    Parameters
    ----------
    shape : tuple of int
        -1 where a length is not known.
    dtype : numpy.dtype
        Its dtype.
    axis : int or None
        The coded axis; None for a block of an array that is not coded.
    work : bool
        Something was computed on the way here that is worth protecting.
    unit : float
        The coarsest rounding on the way here; 0 for integers.
    uniform : bool
        The coded axis is as long in every other block and in parity: what is told to it
        in numbers of rows means the same there.
    ragged : bool
        The coded axis is not as long in every block: what tasks for all of them tell to it
        in numbers of rows they have asked the block itself.
    affine : bool
        Numbers were added on the way here, the same to all rows of the coded axis.
    shifted : bool
        ... and nothing was computed since.
    constant : bool
        Nothing but such numbers.
    unscaled : bool
        Parity took the rows as they are: their sum in parity is parity of their sums.
    summed : bool
        Each block's rows were added up: the coded axis has one row in every block and in parity.
    addends : int
        Numbers that sums along other axes added up, as far as their lengths are known.
    """

    __array_priority__ = 1000

    def __init__(
        self,
        shape: Sequence[int],
        dtype: Any,
        axis: int | None = None,
        work: bool = False,
        unit: float | None = None,
        uniform: bool = False,
        ragged: bool = False,
        affine: bool = False,
        shifted: bool = False,
        constant: bool = False,
        unscaled: bool = False,
        summed: bool = False,
        addends: int = 1,
    ) -> None:
        self.shape, self.dtype, self.axis, self.work = tuple(shape), np.dtype(dtype), axis, work
        self.uniform, self.ragged = uniform, ragged
        self.affine, self.shifted, self.constant = affine, shifted, constant
        self.unscaled, self.summed, self.addends = unscaled, summed, addends
        self.unit = _unit(self.dtype) if unit is None else max(unit, _unit(self.dtype))

    def __repr__(self) -> str:
        return f"<block {self.shape} {self.dtype}, coded axis {self.axis}>"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def along(self) -> int:
        """The coded axis of a block that has one."""
        assert self.axis is not None
        return self.axis

    @property
    def from_end(self) -> int:
        """The coded axis, counted from the end as broadcasting does: 1 for the last."""
        return self.ndim - self.along

    @property
    def length(self) -> int:
        """Of the coded axis."""
        return self.shape[self.along]

    @property
    def T(self) -> Symbol:  # noqa: N802
        return RULES[np.transpose](self)

    @property
    def real(self) -> Symbol:
        return RULES[np.real](self)

    @property
    def imag(self) -> Symbol:
        return RULES[np.imag](self)

    def conj(self) -> Symbol:
        return RULES[np.conjugate](self)

    def transpose(self, *axes: Any) -> Symbol:
        return RULES[np.transpose](self, axes[0] if len(axes) == 1 else axes or None)

    def sum(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Symbol:
        return RULES[np.sum](self, axis=axis, dtype=dtype, keepdims=keepdims)

    def squeeze(self, axis: Any = None) -> Symbol:
        return RULES[np.squeeze](self, axis)

    def reshape(self, *shape: Any) -> Symbol:
        return RULES[np.reshape](self, shape[0] if len(shape) == 1 else shape)

    def astype(self, dtype: Any, **kwargs: Any) -> Symbol:
        found = np.dtype(dtype)
        if found.kind not in "fc" or self.dtype.kind not in "fc":
            if found != self.dtype:
                raise Barrier(f"conversion of {self.dtype} to {found} is not linear")
        elif found.kind == "f" and self.dtype.kind == "c":
            raise Barrier("conversion of complex to real numbers warns; use .real")
        return self.like(dtype=found)

    def like(self, **changes: Any) -> Symbol:
        """Return the same but for some attributes."""
        if changes.get("work"):
            changes["shifted"] = False
        return Symbol(**{**vars(self), **changes})

    def coded(self) -> Symbol:
        """Return itself if it is coded."""
        if self.axis is None:
            raise Barrier("an operation on blocks that are not coded")
        return self

    def __getitem__(self, index: Any) -> Symbol:
        return _getitem(self.coded(), index)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise Barrier("an operation that needs the numbers themselves")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        rule = RULES.get(ufunc)
        if method == "reduce" and ufunc is np.add:
            rule = RULES[np.sum]
        elif method != "__call__" or rule is None or kwargs.keys() - {"dtype", "casting"}:
            raise Barrier(f"{ufunc.__name__} is not linear")
        return rule(*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        rule = RULES.get(func)
        if rule is None:
            raise Barrier(f"{func.__name__} is not known to be linear")
        try:
            return rule(*args, **kwargs)
        except TypeError as error:
            raise Barrier(f"{func.__name__} with arguments that are not known: {error}") from error


def _unit(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).eps) if dtype.kind in "fc" else 0.0


def result_dtype(func: Callable[..., Any], *operands: Any) -> np.dtype[Any]:
    """Return the dtype that a function of one-element arrays yields."""
    ones = [np.ones((1,) * x.ndim, x.dtype) if isinstance(x, Symbol | np.ndarray) else x for x in operands]
    with np.errstate(all="ignore"):
        return np.asarray(func(*ones)).dtype


def _getitem(block: Symbol, index: Any) -> Symbol:
    parts = list(index) if isinstance(index, tuple) else [index]
    given = sum(part is not None and part is not Ellipsis for part in parts)
    place = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[place : place + 1] = [slice(None)] * (block.ndim - given)
    if sum(not (part is None or isinstance(part, slice | int | np.integer)) for part in parts) > 1:
        raise Barrier("fancy indexing of several axes at once")
    shape: list[int] = []
    axis, source = None, 0
    for part in parts:
        if part is None:
            shape.append(1)
            continue
        if source == block.axis:
            if not (isinstance(part, slice) and _is_whole(block, part)):
                raise Barrier("indexing of the coded axis")
            axis = len(shape)
        if not isinstance(part, int | np.integer):
            shape.append(_selected(block.shape[source], part))
        source += 1
    return block.like(shape=shape, axis=axis)


def _is_whole(block: Symbol, part: slice) -> bool:
    everything = part.start in (None, 0) and part.stop is None and part.step in (None, 1)
    return everything or (block.uniform and part.indices(block.length) == (0, block.length, 1))


def _selected(length: int, part: Any) -> int:
    if isinstance(part, slice):
        return len(range(*part.indices(length))) if length >= 0 else -1
    chosen = np.asarray(part)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        raise Barrier("indexing by something other than slices, integers and one list of them")
    return len(chosen)


# A function of NumPy -> what it does to symbols. One line for each linear operation;
# the rules themselves are in `linear`.
RULES: dict[Any, Callable[..., Symbol]] = {}
