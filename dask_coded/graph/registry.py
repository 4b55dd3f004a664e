"""The linear operations that are known: one line each.

A *product* is a Blockwise layer whose function is linear in each of its two
operands. A *step* is a layer that may follow it inside a lane: it treats every
block row of the coded axis alike and leaves the order of rows alone.

Everything here reads layers as Dask builds them, before any optimization.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from dask.array import chunk, routines
from dask.array.core import _concatenate2
from dask.array.einsumfuncs import chunk_einsum
from dask.blockwise import Blockwise

__all__ = ["contracted", "refusal", "step"]

Symbols = tuple[str, ...]


def _shared(layer: Blockwise) -> Symbols:
    """Contracted axes of matmul and tensordot: what both operands lose along the way."""
    axes = layer.task.kwargs.get("axes")
    left = next(symbols for _, symbols in layer.indices if symbols is not None)
    return (left[-1],) if axes is None else tuple(left[axis] for axis in axes[0])


def _last(layer: Blockwise) -> Symbols:
    """Contracted axes of einsum: chunk_einsum appends them to the output."""
    count = layer.task.kwargs["ncontract_inds"]
    return tuple(layer.output_indices[len(layer.output_indices) - count :])


def _none(layer: Blockwise) -> Symbols:
    return ()


# function of the chunks -> the output symbols that it contracts
PRODUCTS: dict[Callable[..., Any], Callable[[Blockwise], Symbols]] = {
    routines._matmul: _shared,
    routines._tensordot: _shared,
    chunk_einsum: _last,
    np.outer: _none,
}

# keyword arguments of those functions that change nothing about linearity
HARMLESS = frozenset({"axes", "is_sparse", "subscripts", "kernel_dtype", "ncontract_inds", "optimize"})

SUMS = (routines._chunk_sum, chunk.sum)
GETTERS = (chunk.getitem, operator.getitem)


def contracted(layer: object) -> Symbols | None:
    """Return the contracted output symbols of a product layer, None for other layers."""
    if not isinstance(layer, Blockwise):
        return None
    read = next((read for func, read in PRODUCTS.items() if func is layer.task.func), None)
    if read is None or len([1 for _, symbols in layer.indices if symbols is not None]) != 2:
        return None
    return read(layer)


def refusal(layer: Blockwise) -> str | None:
    """Say why this product layer cannot be coded in spite of its function, or None."""
    kwargs = layer.task.kwargs
    if unknown := kwargs.keys() - HARMLESS:
        return f"arguments {sorted(unknown)} of the product are not known to be linear"
    if kwargs.get("is_sparse"):
        return "sparse blocks"
    if kwargs.get("kernel_dtype") is not None:
        return "einsum with a dtype of its own cannot take parity of another one"
    if layer.concatenate or layer.new_axes or layer.io_deps:
        return "a product built in an unusual way"
    return None


def step(layer: Any, symbols: Symbols, contraction: Symbols) -> Symbols | None:
    """Return the symbols of the axes left after `layer`, None if it ends the lane.

    Parameters
    ----------
    layer : Layer
        The only consumer of the lane so far, and reading nothing else.
    symbols : tuple of str
        One for each axis of the layer's input.
    contraction : tuple of str
        Those that the product contracts block by block.
    """
    found = {_effect(func, args, kwargs, symbols, contraction) for func, args, kwargs in _calls(layer)}
    return found.pop() if len(found) == 1 else None


def _calls(layer: Any) -> Iterator[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """Yield function and arguments of the layer's tasks, without generating those of a Blockwise."""
    if isinstance(layer, Blockwise):
        yield layer.task.func, layer.task.args, layer.task.kwargs
        return
    for task in layer.values():
        if isinstance(task, tuple) and task and callable(task[0]):
            yield task[0], task[1:], {}
        else:
            yield getattr(task, "func", None), getattr(task, "args", ()), getattr(task, "kwargs", {})


def _effect(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], symbols: Symbols, contraction: Symbols
) -> Symbols | None:
    if func in GETTERS and len(args) == 2 and not kwargs:
        return _squeezed(args[1], symbols)
    func, options = _unwrap(func, kwargs)
    if func not in SUMS or options.keys() - {"axis", "keepdims", "dtype"}:
        return None
    summed = {symbols[axis] for axis in options.get("axis") or ()}
    if not summed or not summed <= set(contraction):
        return None
    return symbols if options.get("keepdims") else tuple(s for s in symbols if s not in summed)


def _unwrap(func: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Take partial() and the concatenation before a sum off a function."""
    outer = getattr(func, "funcs", None)
    if outer is not None and len(outer) == 1 and getattr(func.first, "func", None) is _concatenate2:
        func = outer[0]
    options = dict(kwargs)
    while isinstance(func, partial) and not func.args:
        options = {**func.keywords, **options}
        func = func.func
    return func, options


def _squeezed(index: Any, symbols: Symbols) -> Symbols | None:
    """Return what `index` leaves when it does no more than drop axes of length one."""
    index = getattr(index, "value", index)
    if not isinstance(index, tuple) or len(index) != len(symbols):
        return None
    if not all(i == 0 if isinstance(i, int) else i == slice(None) for i in index):
        return None
    return tuple(s for s, i in zip(symbols, index, strict=True) if not isinstance(i, int))
