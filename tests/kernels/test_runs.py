"""Arrays as addresses and steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_coded.kernels.runs import runs


@pytest.fixture(autouse=True)
def least_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_coded.kernels.runs._SHORTEST", 64)


WHOLE = np.arange(6 * 5 * 70 * 80).reshape(6, 5, 70, 80)


def read(found: Any, place: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Follow the addresses."""
    outer, rows, inner = found.shape
    address, step, row = found.places[place].tolist()
    elements = np.empty((outer, rows, inner), dtype)
    for o in range(outer):
        for r in range(rows):
            at = (np.ctypeslib.ctypes.c_char * (inner * dtype.itemsize)).from_address(
                address + o * step + r * row
            )
            elements[o, r] = np.frombuffer(at, dtype)
    return elements


@pytest.mark.parametrize(
    ("index", "axis", "shape"),
    [
        ((slice(None),), None, (1, 1, 6 * 5 * 70 * 80)),
        ((slice(None),), 0, (1, 6, 5 * 70 * 80)),
        ((slice(None),), 2, (30, 70, 80)),
        ((slice(None),), 3, (6 * 5 * 70, 80, 1)),
        ((slice(1, 4),), None, (1, 1, 3 * 5 * 70 * 80)),
        ((slice(None), slice(1, 3)), None, (1, 6, 2 * 70 * 80)),
        ((slice(None), slice(1, 3)), 2, None),
        ((slice(None), slice(None), slice(5, 60)), None, (6, 5, 55 * 80)),
        ((slice(None), slice(None), slice(5, 60)), 2, (30, 55, 80)),
        ((..., slice(0, 66)), None, (30, 70, 66)),
        ((..., slice(0, 10)), None, None),
        ((..., slice(0, 80, 2)), None, None),
        ((..., slice(None, None, -1)), None, None),
    ],
)
def test_what_can_be_walked(index: Any, axis: int | None, shape: tuple[int, int, int] | None) -> None:
    array = WHOLE[index]
    found = runs([array, array], axis)
    if shape is None:
        assert found is None
        return
    assert found is not None and found.shape == shape
    assert found.along == (shape[2] == 1)
    for place in (0, 1):
        assert read(found, place, array.dtype).ravel().tolist() == array.ravel().tolist()


def test_the_least_contiguous_array_decides() -> None:
    wide = np.zeros((70, 160))
    found = runs([wide[:, :80].copy(), wide[:, :80]], None)
    assert found is not None and found.shape == (1, 70, 80)
    assert found.places[:, 2].tolist() == [640, 1280]
