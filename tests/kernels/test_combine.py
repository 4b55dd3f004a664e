"""The fast combination against the obvious one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import FLOATS, INTEGERS, LAYOUTS, draw, lay_out

from dask_coded.kernels import combine, reference

SHAPES = st.one_of(
    st.just(()),
    st.lists(st.integers(0, 7), min_size=1, max_size=4).map(tuple),
    st.sampled_from([(40_000,), (3, 30_000), (30_000, 3), (1, 2, 20_000), (150, 150)]),
)


def weights_of(rng: np.random.Generator, kind: str, shape: tuple[int, int]) -> Any:
    if kind == "ones":
        return np.ones(shape)
    if kind == "signs":
        return rng.integers(-1, 2, shape)
    if kind == "integers":
        return rng.integers(-5, 6, shape).astype(float)
    return rng.standard_normal(shape)


def assert_same(fast: Any, slow: Any, weights: Any, blocks: Any) -> None:
    assert fast.shape == slow.shape and fast.dtype == slow.dtype and type(fast) is np.ndarray
    if slow.dtype.kind in "iu":
        np.testing.assert_array_equal(fast, slow)
        return
    unit = np.finfo(slow.dtype).eps * len(blocks)
    size = reference.combine(np.abs(weights), [np.abs(block) for block in blocks], slow.real.dtype)
    assert (np.abs(fast - slow) <= 2 * unit * size).all()


@settings(max_examples=150, deadline=None)
@given(
    shape=SHAPES,
    dtype=st.sampled_from(FLOATS + INTEGERS),
    kind=st.sampled_from(["ones", "signs", "integers", "floats"]),
    m=st.integers(0, 4),
    layouts=st.lists(st.sampled_from(LAYOUTS), min_size=1, max_size=9),
    seed=st.integers(0, 2**32),
)
def test_fast_equals_obvious(
    shape: tuple[int, ...], dtype: str, kind: str, m: int, layouts: list[str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu" and kind == "floats":
        kind = "integers"
    weights = weights_of(rng, kind, (m, len(layouts)))
    blocks = [lay_out(draw(rng, shape, dtype), layout) for layout in layouts]
    slow = reference.combine(weights, blocks, dtype)
    assert_same(combine(weights, blocks), slow, weights, blocks)
    out = np.full((m, *shape), 7, dtype=dtype, order="F")
    assert combine(weights, blocks, out) is out
    assert_same(out, slow, weights, blocks)


@settings(max_examples=30, deadline=None)
@given(st.permutations(LAYOUTS), st.sampled_from(["float32", "complex128", "int8"]), st.integers(0, 2**32))
def test_signed_sums_do_not_depend_on_memory_order(order: list[str], dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = [draw(rng, (9, 5, 6), dtype) for _ in order]
    weights = rng.integers(-1, 2, (2, len(blocks)))
    moved = [lay_out(block, layout) for block, layout in zip(blocks, order, strict=True)]
    assert combine(weights, moved).tobytes() == combine(weights, blocks).tobytes()


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap_exactly(dtype: str) -> None:
    info = np.iinfo(dtype)
    blocks = [np.full(3, info.max, dtype), np.full(3, info.max, dtype), np.full(3, 1, dtype)]
    expected = (2 * info.max - 1 - info.min) % (info.max - info.min + 1) + info.min
    assert combine([[1, 1, -1]], blocks).tolist() == [[expected] * 3]


def test_precision_of_the_result() -> None:
    half, single = np.ones(3, "float16"), np.ones(3, "float32")
    assert combine([[1, 1]], [half, half]).dtype == np.float32
    assert combine([[1, 1]], [half, single]).dtype == np.float32
    assert combine([[1j, 1]], [single, single]).dtype == np.complex64
    assert combine([[1, 1]], [np.ones(3, "int8"), np.ones(3, "int32")]).dtype == np.int32
    assert combine([[0.5, 1]], [np.ones(3, "int8"), np.ones(3)]).tolist() == [[1.5] * 3]
    assert combine([[1]], [np.ones(3, ">f8")]).dtype == np.dtype("=f8")


def test_out_may_overlap_a_block_or_have_another_dtype() -> None:
    store = np.arange(6.0).reshape(2, 3)
    combine([[1, 1], [1, -1]], [store[0].copy(), store[1]], out=store)
    assert store.tolist() == [[3, 5, 7], [-3, -3, -3]]
    half = np.zeros((1, 3), "float16")
    assert combine([[2.0]], [np.ones(3)], out=half) is half and half.tolist() == [[2.0] * 3]


def test_blocks_without_weight_are_not_read() -> None:
    bad = np.full(4, np.nan)
    assert combine([[0, 1.5], [0, -1]], [bad, np.ones(4)]).tolist() == [[1.5] * 4, [-1.0] * 4]
    assert combine([[0.0]], [bad]).tolist() == [[0.0] * 4]


def test_scalars_are_blocks_too() -> None:
    result = combine([[1, 1], [0.5, 0]], [np.float64(3), np.float64(4)])
    assert result.tolist() == [7.0, 1.5]


@pytest.mark.parametrize(
    ("weights", "blocks", "error", "text"),
    [
        ([[1, 1]], [np.ones(2, bool)] * 2, TypeError, "logical"),
        ([[1, 1]], [np.ones(2, bool), np.ones(2)], TypeError, "logical"),
        ([[1, 1]], [np.ones(2, object)] * 2, TypeError, "object"),
        ([[1, 0.5]], [np.ones(2, int)] * 2, TypeError, "whole numbers"),
        ([[1, 1]], [np.ones(2, "int64"), np.ones(2, "uint64")], TypeError, "no integer dtype"),
        ([[1, 1]], [np.ones(2), np.ones(3)], ValueError, "differ in shape"),
        ([[1]], [np.ones(2)] * 2, ValueError, "for 2 blocks"),
        ([1, 1], [np.ones(2)] * 2, ValueError, "for 2 blocks"),
        (np.ones((1, 0)), [], ValueError, "at least one"),
        ([[np.nan]], [np.ones(2)], ValueError, "finite"),
    ],
)
def test_refusals_say_why(weights: Any, blocks: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        combine(weights, blocks)


def test_out_is_checked() -> None:
    with pytest.raises(ValueError, match="out has shape"):
        combine([[1]], [np.ones(2)], out=np.empty(2))
    with pytest.raises(TypeError, match="out of dtype"):
        combine([[1]], [np.ones(2)], out=np.empty((1, 2), int))


@pytest.mark.parametrize("k", [16, 256])
def test_long_sums_round_little(k: int) -> None:
    """Summed one after another, 256 positive terms lose twice as much."""
    rng = np.random.default_rng(0)
    blocks = [rng.random((64, 1000), "f4") for _ in range(k)]
    weights = rng.uniform(0.5, 1, (1, k)).astype("f4")
    exact = np.tensordot(weights[0].astype("f8"), np.stack(blocks), 1)
    relative = (combine(weights, blocks)[0] - exact) / exact
    assert np.sqrt(np.mean(relative**2)) < 0.45 * np.finfo("f4").eps


def test_alternating_signs_keep_sums_small_on_the_way() -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.random((8, 1000), "f4") for _ in range(64)]
    for signs in (np.resize([1, -1], (1, 64)), np.resize([-1, 1], (1, 64))):
        exact = np.tensordot(signs[0].astype("f8"), np.stack(blocks), 1)
        error = combine(signs, blocks)[0] - exact
        assert np.sqrt(np.mean(error**2)) < 5 * np.finfo("f4").eps
