"""Memory that kernels work in, kept from call to call.

Fresh memory costs a page fault for each page, as much as the arithmetic that is done in it. Workers of
distributed give freed memory back at once (their ``MALLOC_TRIM_THRESHOLD_``), so that all of theirs is fresh.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["scratch"]

#: Bytes up to which memory is kept, once for each thread that has used some.
_MOST_KEPT = 1 << 23


class _Kept(threading.local):
    memory: NDArray[np.uint8] | None = None


_kept = _Kept()


@contextmanager
def scratch(shape: tuple[int, ...], dtype: np.dtype[Any], like: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Lend an array of the kind of `like`; what is in it is undefined, and it must not be kept."""
    size = prod(shape) * dtype.itemsize
    if type(like) is not np.ndarray or size > _MOST_KEPT:
        yield np.empty(shape, dtype, like=like)
        return
    memory, _kept.memory = _kept.memory, None  # whoever asks in between gets memory of its own
    if memory is None or memory.size < size:
        memory = np.empty(size, np.uint8)
    try:
        yield memory[:size].view(dtype).reshape(shape)
    finally:
        _kept.memory = memory
