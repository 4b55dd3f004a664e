"""Sums and differences of tiles, with terms left out anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.kernels.signed import SignedSum


@given(st.lists(st.integers(-1, 1), min_size=1, max_size=70), st.sampled_from(["i8", "u1", "f8"]))
def test_every_pattern_of_signs(signs: list[int], dtype: str) -> None:
    kind = np.dtype(dtype)
    sources = [np.full(3, j + 1, dtype) for j in range(len(signs))]
    for source in sources:
        source.flags.writeable = False
    result = np.full(3, 99, dtype)
    room = [np.empty(3, dtype) for _ in range(SignedSum.room(len(signs)))]
    SignedSum(np.array(signs).astype(dtype), sources, kind)(sources, result, room)
    expected = sum(sign * (j + 1) for j, sign in enumerate(signs))
    assert (result == np.array(expected).astype(dtype)).all()


@pytest.mark.parametrize("dtype", ["i4", "u4"])
def test_multiples_of_integers_wrap(dtype: str) -> None:
    sources = [np.array([1, 2], "i2"), np.array([2**15 - 1, 3], "i2")]
    result = np.empty(2, dtype)
    weights = np.array([3, 2**20]).astype(dtype)
    SignedSum(weights, sources, result.dtype)(sources, result, [np.empty(2, dtype)])
    expected = [(3 + 2**20 * (2**15 - 1)) % 2**32, (6 + 3 * 2**20) % 2**32]
    assert result.tolist() == np.array(expected).astype(dtype).tolist()


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u8"])
def test_negative_sums_into_a_strided_result(dtype: str) -> None:
    sources = [np.arange(100).astype(dtype), np.arange(0, 200, 2).astype(dtype)]
    result = np.full((4, 100), 7, dtype, order="F")
    minus = np.array([-1, -1]).astype(dtype)
    SignedSum(minus, sources, result.dtype)(sources, result[2], [np.empty(100, dtype)])
    assert (result[2] == np.array(-3 * np.arange(100)).astype(dtype)).all()
    assert (result[[0, 1, 3]] == 7).all()
