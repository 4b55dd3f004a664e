"""Functions that add a constant, run on parity: what comes out is the parity of their results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.codes import parity
from dask_coded.kernels import RowWeights, encode_block, row_levels

MAP = np.random.default_rng(5).normal(size=(4, 3))


def shifted(x: np.ndarray) -> np.ndarray:
    return x @ MAP + [1.0, -2.0, 100.0]


@given(
    st.lists(st.integers(1, 16), min_size=2, max_size=6),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_gives_the_parity_of_the_results(lengths: list[int], r: int, scaled: bool, seed: int) -> None:
    code = parity(len(lengths), r, alternating=True)
    length = -(-max(lengths) // code.sub_blocks) * code.sub_blocks
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(size=(n, 4)) * 10.0 ** rng.integers(-2, 3) for n in lengths]
    levels = [row_levels(block, 0) for block in blocks] if scaled else None
    how = {"axis": 0, "length": length, "dtype": float}
    for piece in code.parity:
        coefficients = code.coefficients(piece)
        weights = RowWeights(coefficients, lengths, length, float)
        made = encode_block(coefficients, blocks, levels, **how)
        found = weights.multiply(shifted(weights.divide(made, levels, axis=0)), levels, axis=0)
        expected = encode_block(coefficients, [shifted(block) for block in blocks], levels, **how)
        largest = encode_block(abs(coefficients), [abs(shifted(block)) for block in blocks], levels, **how)
        assert (abs(found - expected) <= 1e-13 * largest.max(axis=1, keepdims=True)).all()


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_weights_that_cancel(dtype: str) -> None:
    blocks = [np.full((2, 3), 5, dtype), np.full((2, 3), 2, dtype)]
    weights = RowWeights([[1, -1]], (2, 2), 2, dtype)
    made = encode_block([[1, -1]], blocks, axis=0, length=2, dtype=dtype)
    found = weights.multiply(weights.divide(made, None, axis=0) + np.ones(3, dtype), None, axis=0)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_allclose(found, np.full((2, 3), 3, dtype), rtol=2e-7)


def test_rows_of_no_block_stay_zero() -> None:
    weights = RowWeights([[1.0, 2.0]], (1, 2), 4, float)
    assert weights.multiply(np.ones((3, 4)), None, axis=1)[0].tolist() == [3, 2, 0, 0]
    assert weights.divide(np.array([6.0, 2.0, 0.0, 0.0]), None, axis=0).tolist() == [2, 1, 0, 0]
