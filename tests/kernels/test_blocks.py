"""Encode, lose, decode: right within the bound, or refused, never wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import (
    FLOATS,
    INTEGERS,
    LAYOUTS,
    Case,
    double,
    draw,
    lay_out,
    levels_of,
    ones,
    ragged,
    worst_row,
)

from dask_coded.errors import DecodeRefused
from dask_coded.kernels import ZERO, decode_block, encode_block


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("m", [1, 2, 4, 8])
@pytest.mark.parametrize("dtype", [*FLOATS, "float16", *INTEGERS])
def test_single_parity_of_ragged_blocks(dtype: str, m: int, scaled: bool) -> None:
    rng = np.random.default_rng(m)
    for axis, shape in ((0, (16, 3)), (1, (2, 16, 3)), (2, (2, 3, 8)), (0, (24,))):
        blocks = ragged(rng, 4, shape, axis, dtype, least=0)
        case = Case(blocks, ones(4, m), shape[axis], axis, levels_of(blocks, axis) if scaled else None)
        for lost, block in enumerate(blocks):
            found, bound = case.decode([lost], lost)
            assert found.dtype == block.dtype and found.shape == block.shape
            if block.dtype.kind in "iu":
                np.testing.assert_array_equal(found, block)
                assert bound == 0
            else:
                assert worst_row(found, block, axis) <= bound


@settings(max_examples=80, deadline=None)
@given(
    dtype=st.sampled_from(FLOATS),
    m=st.sampled_from([1, 4, 8]),
    k=st.integers(2, 9),
    axis=st.integers(0, 1),
    layout=st.sampled_from(LAYOUTS),
    scaled=st.booleans(),
    mixed_rows=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_error_law(
    dtype: str, m: int, k: int, axis: int, layout: str, scaled: bool, mixed_rows: bool, seed: int
) -> None:
    """Over twelve orders of magnitude, between blocks and between rows, the bound holds."""
    rng = np.random.default_rng(seed)
    shape = (16, 20) if axis == 0 else (20, 16)
    blocks = ragged(rng, k, shape, axis, dtype, least=1)
    for i, block in enumerate(blocks):
        size = [-1 if d == axis else 1 for d in range(2)]
        powers = rng.uniform(-6, 6, block.shape[axis] if mixed_rows else 1).reshape(size)
        blocks[i] = lay_out((block * 10.0**powers).astype(dtype), layout)
    case = Case(blocks, double(k, m, rng), 16, axis, levels_of(blocks, axis) if scaled else None)
    lost = sorted(rng.choice(k, 2, replace=False).tolist())
    for wanted in lost:
        try:
            found, bound = case.decode(lost, wanted)
        except DecodeRefused as refusal:
            assert refusal.bound is not None and refusal.bound > 1e30
            continue
        assert worst_row(found, blocks[wanted], axis) <= bound
        if scaled:
            assert bound < 1e5 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_block_among_large_ones(dtype: str) -> None:
    rng = np.random.default_rng(0)
    scales = [1e-8, 1e8, 1.0, 1e8]
    blocks = [(draw(rng, (32, 10), dtype) * np.dtype(dtype).type(s)) for s in scales]
    with pytest.raises(DecodeRefused, match="digits") as caught:
        Case(blocks, ones(4), 32).decode([0], 0, tolerance=1e-2)
    assert caught.value.bound is not None and caught.value.bound > 1 and caught.value.tolerance == 1e-2
    found, bound = Case(blocks, ones(4), 32, levels=levels_of(blocks, 0)).decode([0], 0)
    assert worst_row(found, blocks[0], 0) <= bound < 50 * np.finfo(dtype).eps


def test_a_wrong_row_is_not_hidden_by_the_rest_of_the_block() -> None:
    rng = np.random.default_rng(0)
    blocks = [draw(rng, (8, 50), "float64") for _ in range(3)]
    blocks[0][3] *= 1e-17
    case = Case(blocks, ones(3), 8)
    with pytest.raises(DecodeRefused, match="digits"):
        case.decode([0], 0, tolerance=1e-6)
    found, bound = case.decode([0], 0, tolerance=1e-6, by_row=False)
    assert worst_row(found, blocks[0], 0) > 1e-6 > bound
    assert np.linalg.norm(found - blocks[0]) <= bound * np.linalg.norm(blocks[0])


@pytest.mark.parametrize("m", [1, 4])
def test_rows_of_zeros(m: int) -> None:
    rng = np.random.default_rng(0)
    blocks = [draw(rng, (8, 5), "float64") * 1e5 for _ in range(3)]
    blocks[0][[2, 7]] = 0
    levels = levels_of(blocks, 0)
    assert levels[0][2] == ZERO
    found, bound = Case(blocks, ones(3, m), 8, levels=levels).decode([0], 0, tolerance=1e-12)
    assert not found[[2, 7]].any() and not np.signbit(found[[2, 7]]).any() and bound < 1e-12
    with pytest.raises(DecodeRefused):
        Case([b * 0.1 for b in blocks], ones(3, m), 8).decode([0], 0, tolerance=1e-2)
    nothing = [np.zeros((8, 5)) for _ in range(3)]
    found, bound = Case(nothing, ones(3, m), 8).decode([0], 0, tolerance=1e-12)
    assert not found.any() and bound < 1e-15


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
def test_not_finite_is_refused(bad: float, place: int, scaled: bool, dtype: str) -> None:
    blocks = [np.ones((4, 6), dtype) for _ in range(3)]
    blocks[place][2, 3] = bad
    levels = levels_of(blocks, 0) if scaled else None
    for m in (1, 4):
        with pytest.raises(DecodeRefused, match="finite") as caught:
            Case(blocks, ones(3, m), 4, levels=levels).decode([0], 0)
        assert caught.value.bound == np.inf


@pytest.mark.parametrize("dtype", ["float16", *FLOATS])
def test_near_the_ends_of_the_range(dtype: str) -> None:
    info = np.finfo(dtype)
    large = [np.full((4, 4), info.max * info.dtype.type(0.9), dtype) for _ in range(4)]
    if dtype != "float16":
        with pytest.raises(DecodeRefused, match="finite"):
            Case(large, ones(4), 4).decode([0], 0)
    found, bound = Case(large, ones(4), 4, levels=levels_of(large, 0)).decode([0], 0)
    assert worst_row(found, large[0], 0) <= bound
    tiny = [np.full((4, 4), info.tiny, dtype) * (i + 1) for i in range(4)]
    found, bound = Case(tiny, ones(4), 4, levels=levels_of(tiny, 0)).decode([0], 0)
    assert worst_row(found, tiny[0], 0) <= bound


def test_overflow_on_the_way_back_is_refused() -> None:
    levels = [np.array([483], np.int16)] * 2
    with pytest.raises(DecodeRefused, match="overflows"):
        decode_block(
            [[1.0]], [np.full((1, 3), 1e10, "f4")], [-1], levels, target=1,
            axis=0, length=1, shape=(1, 3), dtype="f4", tolerance=1,
        )  # fmt: skip
    with pytest.raises(DecodeRefused, match="overflows"):
        decode_block(
            [[1.0, -1.0]], [np.full((1, 3), 70000, "f4"), np.full((1, 3), 1, "f2")], [-1, 0],
            axis=0, length=1, shape=(1, 3), dtype="f2", tolerance=1,
        )  # fmt: skip
    with pytest.raises(DecodeRefused, match="float32 holds"):
        decode_block(
            [[1.0]], [np.ones((1, 3), "f4")], [0], [np.array([2003], np.int16)],
            axis=0, length=1, shape=(1, 3), dtype="f4", tolerance=1,
        )  # fmt: skip


def test_lost_digits_of_subnormal_pieces_count() -> None:
    """A piece that underflowed is known to a step, not to a share of its value."""
    values = np.float32(1.1) * np.ones((1, 8), "f4")
    levels = [np.array([-397], np.int16), np.array([3], np.int16)]
    operand = values * np.float32(2.0**-100)
    piece = (operand * np.float32(2.0**-45)).astype("f4")
    parity = values * np.float32(2.0**-45) * 2
    found, bound = decode_block(
        [[1.0, -1.0]], [parity, piece], [-1, 0], levels, target=1,
        axis=0, length=1, shape=(1, 8), dtype="f4", tolerance=np.inf, with_bound=True,
    )  # fmt: skip
    assert worst_row(found, values * np.float32(2.0**-45), 0) <= bound


@pytest.mark.parametrize("shape", [(0,), (0, 3), (4, 0), (2, 0, 3), (0, 0)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "complex128"])
@pytest.mark.parametrize("m", [1, 4])
def test_empty_blocks(shape: tuple[int, ...], dtype: str, m: int) -> None:
    for length in {shape[0] if shape[0] % m == 0 else 4, 8}:
        blocks = [np.empty(shape, dtype) for _ in range(3)]
        case = Case(blocks, ones(3, m), length, levels=levels_of(blocks, 0))
        assert case.parity[0].shape == (length, *shape[1:]) and not case.parity[0].any()
        found, _ = case.decode([1], 1, tolerance=1e-3)
        assert found.shape == shape and found.dtype == dtype


def test_rows_past_the_wanted_block_are_not_judged() -> None:
    rng = np.random.default_rng(0)
    blocks = [draw(rng, (n, 3), "float64") for n in (16, 16, 5)]
    for m in (1, 2, 4):
        found, bound = Case(blocks, ones(3, m), 16).decode([2], 2, tolerance=1e-12)
        assert found.shape == (5, 3) and found.base is None  # no larger array is kept alive
        assert worst_row(found, blocks[2], 0) <= bound


def test_a_parity_piece_can_be_rebuilt() -> None:
    rng = np.random.default_rng(0)
    blocks = [draw(rng, (8, 3), "float64") * 10.0**i for i in range(3)]
    levels = levels_of(blocks, 0)
    case = Case(blocks, ones(3), 8, levels=levels)
    found = decode_block(
        [[1, 1, 1]], blocks, range(3), levels,
        axis=0, length=8, shape=(8, 3), dtype="f8", tolerance=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(found, case.parity[0], rtol=1e-13)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "complex128", "int16"])
def test_memory_order_changes_nothing(layout: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    plain = [draw(rng, (12, 4, 5), dtype) for _ in range(3)]
    other = [lay_out(block, layout) for block in plain]
    for axis, length in ((0, 12), (1, 4), (2, 5)):
        first, second = (Case(b, ones(3), length, axis) for b in (plain, other))
        np.testing.assert_array_equal(first.parity[0], second.parity[0])
        np.testing.assert_array_equal(first.decode([1], 1)[0], second.decode([1], 1)[0])


def test_encode_against_padding() -> None:
    rng = np.random.default_rng(0)
    blocks = ragged(rng, 4, (24, 3), 0, "float64", least=0)
    coefficients = rng.standard_normal((4, 16))
    padded = np.stack([np.pad(b, ((0, 24 - len(b)), (0, 0))) for b in blocks]).reshape(16, 6, 3)
    expected = np.einsum("st,tij->sij", coefficients, padded).reshape(24, 3)
    found = encode_block(coefficients, blocks, axis=-2, length=24, dtype="f8")
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_integers_to_float_results() -> None:
    blocks = [np.array([[1, 2], [3, 4]]), np.array([[5, 6]])]
    parity = encode_block([[0.5, 1]], blocks, levels_of(blocks, 0), axis=0, length=2, dtype="f4")
    assert parity.dtype == np.float32 and parity.tolist() == [[5.5, 7], [1.5, 2]]


def test_integers_decode_with_signs_only() -> None:
    kwargs: Any = {"axis": 0, "length": 2, "shape": (2,), "dtype": "i8", "tolerance": 0}
    piece = np.array([4, 6])
    with pytest.raises(DecodeRefused, match="exactly only"):
        decode_block([[0.5]], [piece], [-1], **kwargs)
    with pytest.raises(DecodeRefused, match="exactly only"):
        decode_block([[1 + 1e-15]], [piece], [-1], **kwargs)
    assert decode_block([[-1.0]], [piece], [-1], **kwargs).tolist() == [-4, -6]


@pytest.mark.parametrize(("announced", "actual"), [("i8", "i1"), ("f8", "f4"), ("f8", "i8"), ("f4", "f8")])
def test_blocks_of_another_dtype_than_announced_are_refused(announced: str, actual: str) -> None:
    """Parity would stand for other numbers: int8 wraps where int64 does not."""
    kwargs: Any = {"axis": 0, "length": 2, "shape": (2, 1), "dtype": announced, "tolerance": 1}
    parity, piece = np.full((2, 1), 300, announced), np.full((2, 1), 44, actual)
    with pytest.raises(DecodeRefused, match=f"{piece.dtype}, but {parity.dtype} was announced"):
        decode_block([[1, -1]], [parity, piece], [-1, 0], **kwargs)
    swapped = piece.astype(parity.dtype.newbyteorder("S"))
    assert decode_block([[1, -1]], [parity, swapped], [-1, 0], **kwargs).tolist() == [[256]] * 2


def test_amplification_and_tolerance() -> None:
    kwargs: Any = {"axis": 0, "length": 2, "shape": (2, 1), "dtype": "f8", "with_bound": True}
    piece = np.ones((2, 1))
    _, bound = decode_block([[1]], [piece], [-1], tolerance=1e-10, amplification=1e3, **kwargs)
    assert bound == 1e3 * np.finfo(float).eps / 2
    with pytest.raises(DecodeRefused):
        decode_block([[1]], [piece], [-1], tolerance=1e-14, amplification=1e3, **kwargs)
    with pytest.raises(DecodeRefused):
        decode_block([[1]], [piece], [-1], tolerance=np.nan, **kwargs)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"axis": 2}, "axis 2"),
        ({"length": 1}, "rows along axis"),
        ({"weights": [[1, 1, 1]]}, "weights of shape"),
        ({"weights": np.ones((3, 6)), "length": 4}, "equal groups"),
        ({"pieces": [np.ones((2, 3)), np.ones((2, 4))]}, "differ in more than"),
        ({"pieces": []}, "at least one"),
        ({"own": [0]}, "owners"),
        ({"own": [0, -1], "length": 4}, "parity piece"),
        ({"shape": (2, 4)}, "no block of shape"),
        ({"shape": (3, 3)}, "no block of shape"),
        ({"levels": [np.zeros(3, np.int16)] * 2}, "levels for"),
    ],
)
def test_arguments_are_checked(change: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {
        "weights": [[1, -1]], "pieces": [np.ones((2, 3))] * 2, "own": [0, 1], "axis": 0, "length": 2,
        "shape": (2, 3), "dtype": "f8", "tolerance": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match=text):
        decode_block(**(arguments | change))


def test_bound_is_not_far_from_the_error() -> None:
    """A bound that refuses everything would be safe and useless."""
    rng = np.random.default_rng(0)
    blocks = [draw(rng, (64, 64), "float64") for _ in range(8)]
    case = Case(blocks, double(8, 1, rng), 64)
    found, bound = case.decode([1, 5], 5)
    error = worst_row(found, blocks[5], 0)
    assert bound / 60 < error <= bound
