"""Memory for results, laid out so that it costs few page faults.

Workers of distributed give freed memory back at once (their ``MALLOC_TRIM_THRESHOLD_``), so that all
of theirs is fresh, and the page faults of a result take longer than the arithmetic. NumPy asks for
huge pages, 512 of the small ones each, but these begin at whole multiples of their size only:
an array that does not has up to 1 MiB of small pages at each end.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fresh"]

_HUGE = 1 << 21  # bytes of a huge page
_LEAST = 1 << 22  # bytes from which on NumPy asks for them


def fresh(shape: tuple[int, ...], dtype: np.dtype[Any], like: Any = None) -> NDArray[Any]:
    """Return a new array of the kind of `like`, C-contiguous; what is in it is undefined.

    Large ones lie in whole huge pages, at a cost of at most one part in 16 in memory that is used.
    """
    size = prod(shape) * dtype.itemsize
    if size < _LEAST or not (like is None or type(like) is np.ndarray):
        return np.empty(shape, dtype, like=like)
    rest, lacking = size % _HUGE, -size % _HUGE
    if lacking <= size // 16:  # the last page may be a huge one too
        memory = np.empty(size + lacking + _HUGE, np.uint8)
    else:  # no room for one behind the array: it would count, and is not used
        memory = np.empty(size - rest + _HUGE, np.uint8)
    start = -memory.ctypes.data % _HUGE
    if start + size > memory.size:
        return np.empty(shape, dtype)
    return memory[start : start + size].view(dtype).reshape(shape)
