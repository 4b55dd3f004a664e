"""Fresh memory is what `numpy.empty` gives, but for where it begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_coded.kernels.fresh import fresh

HUGE = 1 << 21


@pytest.mark.parametrize("dtype", ["u1", "f4", "c16"])
@pytest.mark.parametrize("shape", [(), (0, 3), (5, 7), (3, 1 << 20), (999, 8009), (2, 2_621_441)])
def test_like_an_empty_array(shape: tuple[int, ...], dtype: str) -> None:
    array = fresh(shape, np.dtype(dtype))
    assert (type(array), array.shape, array.dtype) == (np.ndarray, shape, np.dtype(dtype))
    assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
    array[...] = 1
    assert (array == 1).all()


@pytest.mark.parametrize("size", [2 * HUGE, 4 * HUGE, 8_000_000, 4 * HUGE - 1, 20 * HUGE - 100_000])
def test_large_arrays_begin_with_a_huge_page(size: int) -> None:
    array = fresh((size,), np.dtype(np.uint8))
    assert array.ctypes.data % HUGE == 0
    assert array.base is not None and array.base.nbytes <= size + size // 16 + HUGE


@pytest.mark.parametrize("size", [2 * HUGE + HUGE // 2, 4 * HUGE + 8])
def test_no_room_for_a_huge_page_behind_the_array(size: int) -> None:
    """The kernel would use it, and most of it would count for nothing."""
    for _ in range(5):
        array = fresh((size,), np.dtype(np.uint8))
        if array.base is not None:
            assert array.ctypes.data % HUGE == 0
            assert array.base.ctypes.data + array.base.nbytes <= array.ctypes.data + size + HUGE - size % HUGE


def test_other_kinds_of_arrays_are_made_by_their_library() -> None:
    class Other:
        def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
            return function, args

    assert fresh((1 << 20,), np.dtype(float), Other()) == (np.empty, ((1 << 20,), np.dtype(float)))  # type: ignore[comparison-overlap]
