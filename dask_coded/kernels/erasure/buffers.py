"""Blocks as plain bytes, and back, bit for bit.

    block --layout_of--> BlockLayout       what to remember
    block --as_bytes---> uint8, 1-d        a view where the block lies in one piece
    uint8 --from_bytes-> block             a view

The layout fixes the order of the bytes once. A copy of the block that was moved
between processes may lie differently in memory, and must still yield the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dask_coded.kernels.devices import backend_of, device_of
from dask_coded.kernels.tiles import memory_order

__all__ = ["BlockLayout", "Bytes", "as_bytes", "from_bytes", "layout_of"]

Bytes = NDArray[np.uint8]

_TYPES = np.ndarray, np.memmap, np.generic


@dataclass(frozen=True)
class BlockLayout:
    """How a block is made of its bytes.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the block; without objects.
    shape : tuple of int
        Of the block.
    order : tuple of int
        The axes from the slowest in memory to the fastest: ``(0, 1)`` is C order of a matrix.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Number of bytes of the block."""
        return prod(self.shape) * self.dtype.itemsize


def layout_of(block: Any) -> BlockLayout:
    """Return how a block is made of its bytes.

    Parameters
    ----------
    block : ndarray, NumPy scalar or array on a device
        Any shape and memory order; any dtype but those that hold references.

    Returns
    -------
    BlockLayout
        Axes in the order in which they lie in memory.

    Raises
    ------
    TypeError
        If the bytes of the block are not all there is to it: objects, variable-width
        strings, masks, sparse matrices, arrays of another library.

    Examples
    --------
    >>> layout_of(np.zeros((2, 3), "int16", order="F"))
    BlockLayout(dtype=dtype('int16'), shape=(2, 3), order=(1, 0))
    """
    array = _plain(block)
    return BlockLayout(array.dtype, array.shape, memory_order(array))


def as_bytes(block: Any, layout: BlockLayout | None = None) -> Bytes:
    """Return the bytes of a block.

    Parameters
    ----------
    block : ndarray or NumPy scalar
        Never written to.
    layout : BlockLayout, optional
        From `layout_of` of this block, or of one that it is a copy of.

    Returns
    -------
    ndarray, shape (nbytes,), uint8
        A view where the block lies in memory without gaps in the order of `layout`, else
        a copy. Padding between the fields of a structured dtype holds no values and
        does not survive every copy: it counts as zeros.

    Raises
    ------
    TypeError
        As for `layout_of`.
    ValueError
        If the block does not have the dtype and shape of `layout`.

    Examples
    --------
    >>> as_bytes(np.array([1, 256], "<u2"))
    array([1, 0, 0, 1], dtype=uint8)
    """
    array = _plain(block)
    if layout is None:
        layout = layout_of(array)
    if (array.dtype, array.shape) != (layout.dtype, layout.shape):
        raise ValueError(
            f"a block of {array.dtype} with shape {array.shape} is no copy of one of"
            f" {layout.dtype} with shape {layout.shape}"
        )
    if (device := device_of([array])) is not None:
        data: Bytes = device.as_bytes(array, layout)
        return data
    if not layout.nbytes:
        return np.empty(0, np.uint8)
    used = _used_bytes(array.dtype)
    if array.dtype.fields is not None:
        # A copy field by field would leave the padding to chance.
        array = array.view(np.dtype((np.void, array.dtype.itemsize)))
    data = np.ascontiguousarray(array.transpose(layout.order)).reshape(-1).view(np.uint8)
    return data if used.all() else np.multiply(data.reshape(-1, len(used)), used).reshape(-1)


def from_bytes(data: Bytes, layout: BlockLayout) -> NDArray[Any]:
    """Return the block that has these bytes.

    Parameters
    ----------
    data : ndarray, shape (layout.nbytes,), uint8
        Contiguous.
    layout : BlockLayout
        Of the block.

    Returns
    -------
    ndarray
        A view of `data`. What was a NumPy scalar comes back as an array without axes.

    Examples
    --------
    >>> block = np.array([[1.5, -0.0]])
    >>> from_bytes(as_bytes(block), layout_of(block))
    array([[ 1.5, -0. ]])
    """
    if data.shape != (layout.nbytes,):
        raise ValueError(f"{data.size} bytes for a block of {layout.nbytes}")
    if (device := device_of([data])) is not None:
        block: NDArray[Any] = device.from_bytes(data, layout)
        return block
    shape = [layout.shape[axis] for axis in layout.order]
    flat = np.ndarray(shape, layout.dtype, data if layout.nbytes else None)
    return flat.transpose(np.argsort(layout.order))


def _plain(block: Any) -> NDArray[Any]:
    """Return the block as an array of this process or of a device, or say why its bytes are not to be had."""
    kind = type(block)
    on_device = device_of([block]) is not None
    if on_device:
        backend_of([block])
    elif kind not in _TYPES and not isinstance(block, np.generic):
        raise TypeError(
            f"a block of type {kind.__module__}.{kind.__name__} is more than its bytes:"
            " turn it into a NumPy array first, for example with x.map_blocks(numpy.asarray)"
        )
    array: NDArray[Any] = block if on_device else np.asarray(block)
    if array.dtype.hasobject:
        raise TypeError(
            f"blocks of dtype {array.dtype} hold references, not values: convert them first, for example"
            " with x.astype('U32') for strings or x.astype(float) for numbers"
        )
    return array


def _used_bytes(dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Tell which bytes of an element belong to a field."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return np.tile(_used_bytes(base), prod(shape))
    if dtype.fields is None:
        return np.ones(dtype.itemsize, bool)
    used = np.zeros(dtype.itemsize, bool)
    for field, offset, *_ in dtype.fields.values():
        used[offset : offset + field.itemsize] |= _used_bytes(field)
    return used
