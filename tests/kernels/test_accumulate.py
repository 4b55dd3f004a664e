"""Folding blocks in as they arrive gives what combining them at once gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import FLOATS, INTEGERS, LAYOUTS, draw, lay_out

from dask_coded.codes import parity
from dask_coded.kernels import Accumulator, combine, reference


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([(), (0,), (7,), (3, 5, 4), (200, 30), (5000,)]),
    st.sampled_from(FLOATS + INTEGERS),
    st.integers(1, 3),
    st.lists(st.sampled_from(LAYOUTS), min_size=1, max_size=9),
    st.integers(0, 2**32),
)
def test_any_order_of_arrival(
    shape: tuple[int, ...], dtype: str, m: int, layouts: list[str], seed: int
) -> None:
    rng, k = np.random.default_rng(seed), len(layouts)
    exact = np.dtype(dtype).kind in "iu"
    weights = rng.integers(-3, 4, (m, k)) if exact else rng.standard_normal((m, k))
    blocks = [lay_out(draw(rng, shape, dtype), layout) for layout in layouts]
    sums = Accumulator(weights, dtype)
    for arrived, index in enumerate(rng.permutation(k).tolist()):
        assert len(sums.missing) == k - arrived
        sums.add(index, blocks[index])
    found, at_once = sums.result(), combine(weights, blocks)
    assert found.shape == at_once.shape and found.dtype == at_once.dtype
    if exact:
        np.testing.assert_array_equal(found, at_once)
        return
    size = reference.combine(np.abs(weights), [np.abs(b) for b in blocks], at_once.real.dtype)
    assert (np.abs(found - at_once) <= 4 * k * np.finfo(at_once.dtype).eps * size).all()


@pytest.mark.parametrize("r", [1, 2, 3])
def test_lost_blocks_come_back(r: int) -> None:
    rng, code = np.random.default_rng(r), parity(6, r, sub_blocks=1)
    blocks = [rng.standard_normal((40, 60)) for _ in range(6)]
    pieces = blocks + list(combine(np.concatenate([code.coefficients(6 + i) for i in range(r)]), blocks))
    for wanted in range(r):
        plan = code.plan(range(r, 6 + r), wanted)
        assert plan is not None
        sums = Accumulator(plan.weights, float)
        for place in rng.permutation(len(plan.used)).tolist():
            sums.add(place, pieces[plan.used[place]])
        np.testing.assert_allclose(sums.result()[0], blocks[wanted], rtol=0, atol=1e-12)


def test_refusals() -> None:
    sums = Accumulator([[1, 1]], "float32")
    with pytest.raises(ValueError, match=r"blocks \(0, 1\) have not arrived"):
        sums.result()
    sums.add(1, np.ones(2, "float32"))
    bad: list[tuple[int, Any, str]] = [
        (1, np.ones(2, "float32"), r"block 1 is not awaited: blocks \(0,\) are"),
        (0, np.ones(3, "float32"), r"shape \(3,\) does not fit"),
        (0, np.ones(2), "float64 does not fit sums of float32"),
    ]
    for index, block, text in bad:
        with pytest.raises(ValueError, match=text):
            sums.add(index, block)
    with pytest.raises(TypeError, match="logical"):
        sums.add(0, np.ones(2, bool))
    with pytest.raises(ValueError, match="one row for each result"):
        Accumulator([1, 1], float)
    assert sums.missing == (0,)
