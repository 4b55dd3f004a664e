"""Combining, encoding and decoding on a device: as on the host, and no block leaves the device."""

from __future__ import annotations

from typing import Any

import fake_gpu
import numpy as np
import pytest
from device_cases import Device, close
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import FLOATS, INTEGERS, Case, double, draw, inverse, levels_of, ones, ragged, worst_row

from dask_coded.errors import DecodeRefused
from dask_coded.kernels import decode_block, encode_block, merge_levels, row_levels
from dask_coded.kernels.on_device import blocks as device_blocks

LAYOUTS = ("C", "F", "strided", "reversed", "swapped", "offset")


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("m", [1, 2, 4, 8])
@pytest.mark.parametrize("dtype", ["float16", *FLOATS, *INTEGERS])
def test_ragged_blocks_are_encoded_and_decoded_as_on_the_host(
    device: Device, dtype: str, m: int, scaled: bool
) -> None:
    rng = np.random.default_rng(m)
    for axis, shape in ((0, (16, 3)), (1, (3, 16, 40)), (2, (9, 3, 8)), (0, (24,)), (0, (8, 300))):
        blocks = ragged(rng, 4, shape, axis, dtype, least=0)
        on_device: Any = [device.put(block) for block in blocks]
        host, case = (
            Case(each, ones(4, m), shape[axis], axis, levels_of(each, axis) if scaled else None)
            for each in (blocks, on_device)
        )
        assert close(device.get(case.parity[0]), host.parity[0], 8)
        for lost, block in enumerate(blocks):
            found, bound = case.decode([lost], lost)
            _, same_bound = host.decode([lost], lost)
            found = device.get(found)
            assert found.dtype == block.dtype and found.shape == block.shape
            assert bound == pytest.approx(same_bound, rel=0.02)  # its norms are sums in float32
            if block.dtype.kind in "iu":
                np.testing.assert_array_equal(found, block)
            else:
                assert worst_row(found, block, axis) <= bound


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(FLOATS),
    m=st.sampled_from([1, 4, 8]),
    k=st.integers(2, 9),
    axis=st.integers(0, 1),
    shape=st.sampled_from([(16, 20), (20, 16), (16, 200), (80, 16)]),
    layout=st.sampled_from(LAYOUTS),
    scaled=st.booleans(),
    mixed_rows=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_error_law(
    device: Device, dtype: str, m: int, k: int, axis: int, shape: tuple[int, ...], layout: str, scaled: bool,
    mixed_rows: bool, seed: int,
) -> None:  # fmt: skip
    """Over twelve orders of magnitude the bound holds, and is the host's."""
    rng = np.random.default_rng(seed)
    length = shape[axis] // 8 * 8
    shape = (*shape[:axis], length, *shape[axis + 1 :])
    blocks = ragged(rng, k, shape, axis, dtype, least=1)
    for i, block in enumerate(blocks):
        size = [-1 if d == axis else 1 for d in range(2)]
        powers = rng.uniform(-6, 6, block.shape[axis] if mixed_rows else 1).reshape(size)
        blocks[i] = (block * 10.0**powers).astype(dtype)
    on_device: Any = [device.lay_out(block, layout) for block in blocks]
    coefficients = double(k, m, rng)
    host, case = (
        Case(each, coefficients, length, axis, levels_of(each, axis) if scaled else None)
        for each in (blocks, on_device)
    )
    lost = sorted(rng.choice(k, 2, replace=False).tolist())
    for wanted in lost:
        try:
            _, same_bound = host.decode(lost, wanted)
            found, bound = case.decode(lost, wanted)
        except DecodeRefused as refusal:
            assert refusal.bound is not None and refusal.bound > 1e30
            continue
        assert worst_row(device.get(found), blocks[wanted], axis) <= bound
        if bound < 1e-3:
            assert bound == pytest.approx(same_bound, rel=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_that_is_wrong_is_refused(device: Device, dtype: str) -> None:
    rng = np.random.default_rng(0)
    blocks = [draw(rng, (8, 50), dtype) for _ in range(3)]
    blocks[0][3] *= 1e-17
    case = Case([device.put(block) for block in blocks], ones(3), 8)
    with pytest.raises(DecodeRefused, match="digits"):
        case.decode([0], 0, tolerance=1e-3)
    found, bound = case.decode([0], 0, tolerance=1e-3, by_row=False)
    assert worst_row(device.get(found), blocks[0], 0) > 1e-3 > bound


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("dtype", ["float16", *FLOATS])
def test_not_finite_is_refused(device: Device, bad: float, place: int, dtype: str) -> None:
    for shape in ((4, 6), (4, 300)):
        blocks = [np.ones(shape, dtype) for _ in range(3)]
        blocks[place][2, 3] = bad
        on_device: Any = [device.put(block) for block in blocks]
        for levels in (None, levels_of(on_device, 0)):
            for m in (1, 4):
                with pytest.raises(DecodeRefused, match="finite") as caught:
                    Case(on_device, ones(3, m), 4, levels=levels).decode([0], 0)
                assert caught.value.bound == np.inf


@pytest.mark.parametrize("dtype", ["float16", *FLOATS])
def test_near_the_ends_of_the_range(device: Device, dtype: str) -> None:
    info = np.finfo(dtype)
    for size, count in ((info.max * info.dtype.type(0.9), 4), (info.tiny, 4), (info.smallest_subnormal, 3)):
        blocks = [np.full((4, 4), size / info.dtype.type(i + 1), dtype) for i in range(count)]
        on_device: Any = [device.put(block) for block in blocks]
        levels = levels_of(on_device, 0)
        host, case = (
            Case(blocks, ones(count), 4, levels=levels_of(blocks, 0)),
            Case(on_device, ones(count), 4, levels=levels),
        )
        if size == info.smallest_subnormal:
            for each in (host, case):
                with pytest.raises(DecodeRefused, match="digits"):
                    each.decode([0], 0)
            continue
        _, same_bound = host.decode([0], 0)
        found, bound = case.decode([0], 0)
        assert bound == pytest.approx(same_bound, rel=1e-6)
        assert worst_row(device.get(found), blocks[0], 0) <= bound


def test_rows_of_zeros_are_zero(device: Device) -> None:
    rng = np.random.default_rng(0)
    for width in (5, 200):
        blocks = [draw(rng, (8, width), "float64") * 1e5 for _ in range(3)]
        blocks[0][[2, 7]] = 0
        on_device: Any = [device.put(block) for block in blocks]
        for m in (1, 4):
            case = Case(on_device, ones(3, m), 8, levels=levels_of(on_device, 0))
            found, bound = case.decode([0], 0, tolerance=1e-12)
            zeros = device.get(found)[[2, 7]]
            assert not zeros.any() and not np.signbit(zeros).any() and bound < 1e-12


def test_factors_that_the_dtype_cannot_hold_are_refused(device: Device) -> None:
    piece = device.put(np.ones((1, 3), "f4"))
    arguments: Any = {"axis": 0, "length": 1, "shape": (1, 3), "dtype": "f4", "tolerance": 1}
    for level in (2003, -2003):
        levels = [device.put(np.array([level], np.int16))]
        with pytest.raises(DecodeRefused, match=r"float32 holds"):
            decode_block([[1.0]], [piece], [0], levels, **arguments)
        with pytest.raises(DecodeRefused, match=r"float32 holds"):
            decode_block([[1.0]], [piece], [-1], levels, target=0, **arguments)
        parity = encode_block([[1.0]], [piece], levels, axis=0, length=1, dtype="f4")
        with pytest.raises(DecodeRefused, match="finite"):
            decode_block([[1.0]], [parity], [-1], **arguments)
        with pytest.raises(DecodeRefused, match="float32 holds"):
            decode_block([[1.0]], [piece], [0], [np.array([level], np.int16)], **arguments)


def test_overflow_on_the_way_back_is_refused(device: Device) -> None:
    levels = [device.put(np.array([483], np.int16))] * 2
    with pytest.raises(DecodeRefused, match="overflows"):
        decode_block(
            [[1.0]], [device.put(np.full((1, 3), 1e10, "f4"))], [-1], levels, target=1,
            axis=0, length=1, shape=(1, 3), dtype="f4", tolerance=1,
        )  # fmt: skip
    pieces = [device.put(np.full((1, 3), 70000, "f4")), device.put(np.full((1, 3), 1, "f2"))]
    with pytest.raises(DecodeRefused, match="overflows"):
        decode_block([[1.0, -1.0]], pieces, [-1, 0], axis=0, length=1, shape=(1, 3), dtype="f2", tolerance=1)


def test_levels_may_have_come_to_the_host(device: Device) -> None:
    rng = np.random.default_rng(0)
    blocks = [draw(rng, (16, 9), "float64") * 10.0 ** (4 * i) for i in range(4)]
    on_device: Any = [device.put(block) for block in blocks]
    first, second = (Case(on_device, ones(4), 16, levels=levels_of(each, 0)) for each in (on_device, blocks))
    np.testing.assert_array_equal(device.get(first.parity[0]), device.get(second.parity[0]))
    for wanted in range(4):
        (one, bound), (other, same) = (case.decode([wanted], wanted) for case in (first, second))
        np.testing.assert_array_equal(device.get(one), device.get(other))
        assert bound == pytest.approx(same)


@pytest.mark.parametrize("m", [6, 12])
def test_any_number_of_row_groups(device: Device, m: int) -> None:
    """More groups than sums fit in registers take several passes."""
    rng = np.random.default_rng(0)
    blocks = ragged(rng, 3, (4 * m, 7), 0, "float64", least=1)
    on_device: Any = [device.put(block) for block in blocks]
    coefficients = double(3, m, rng)
    host, case = (Case(each, coefficients, 4 * m, levels=levels_of(each, 0)) for each in (blocks, on_device))
    for parity, true in zip(case.parity, host.parity, strict=True):
        assert close(device.get(parity), true, 3 * m)
    for wanted in (0, 2):
        found, bound = case.decode([0, 2], wanted)
        _, same = host.decode([0, 2], wanted)
        assert worst_row(device.get(found), blocks[wanted], 0) <= bound == pytest.approx(same, rel=0.1)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (4, 0), (2, 0, 3), (0, 0)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "complex128"])
@pytest.mark.parametrize("m", [1, 4])
def test_empty_blocks(device: Device, shape: tuple[int, ...], dtype: str, m: int) -> None:
    for length in {shape[0] if shape[0] % m == 0 else 4, 8}:
        blocks: Any = [device.put(np.empty(shape, dtype)) for _ in range(3)]
        case = Case(blocks, ones(3, m), length, levels=levels_of(blocks, 0))
        assert case.parity[0].shape == (length, *shape[1:]) and not device.get(case.parity[0]).any()
        found, _ = case.decode([1], 1, tolerance=1e-3)
        assert found.shape == shape and found.dtype == dtype


@pytest.mark.usefixtures("no_transfers")
def test_nothing_but_a_decode_of_floats_waits_for_the_device(device: Device) -> None:
    floats: Any = [device.put(np.ones((8, 5))) for _ in range(3)]
    integers: Any = [device.put(np.ones((8, 5), int)) for _ in range(3)]
    levels = merge_levels([levels_of(floats, 0)[0], row_levels(floats[1], 0)])
    encode_block(ones(3)[0], floats, [levels] * 3, axis=0, length=8, dtype="f8")
    Case(integers, ones(3, 2), 8).decode([1], 1)


def test_one_read_of_few_bytes_decides() -> None:
    if fake_gpu.compiler() is None:
        pytest.skip("no C++ compiler to run the CUDA kernels on the CPU with")
    blocks: Any = [fake_gpu.FakeGPU(np.ones((8, 500))) for _ in range(4)]
    case = Case(blocks, ones(4), 8, levels=levels_of(blocks, 0))
    fake_gpu.transfers.clear()
    case.decode([1], 1)
    assert len(fake_gpu.transfers) == 1 and fake_gpu.transfers[0] <= 4 * 5 * 8 * 8


def test_amplified_errors_are_those_of_the_weights(device: Device) -> None:
    rng = np.random.default_rng(0)
    blocks = [draw(rng, (64, 64), "float64") for _ in range(8)]
    rows = np.concatenate([np.eye(8)[[0, 2, 3, 4, 6, 7]], double(8, 1, rng)[:, 0]])
    weights = np.eye(8)[[5]] @ inverse(rows)
    pieces = [blocks[i] for i in (0, 2, 3, 4, 6, 7)]
    pieces += [encode_block(c, blocks, axis=0, length=64, dtype="f8") for c in double(8, 1, rng)]
    arguments: Any = {
        "axis": 0,
        "length": 64,
        "shape": (64, 64),
        "dtype": "f8",
        "tolerance": 1,
        "with_bound": True,
    }
    own = [0, 2, 3, 4, 6, 7, -1, -1]
    true, bound = decode_block(weights, pieces, own, **arguments)
    found, same = decode_block(weights, [device.put(piece) for piece in pieces], own, **arguments)
    assert np.abs(device.get(found) - true).max() < 1e-13 and bound == pytest.approx(same)


@pytest.mark.parametrize("most", [1, 3, 5])
@pytest.mark.parametrize("m", [1, 4])
def test_norms_of_some_rows_at_a_time(
    device: Device, m: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for axis, shape in ((0, (32, 5)), (1, (3, 32, 4)), (1, (6, 32))):
        blocks = ragged(rng, 4, shape, axis, "float64", least=1)
        on_device: Any = [device.put(block) for block in blocks]
        case = Case(on_device, double(4, m, rng), 32, axis, levels_of(on_device, axis))
        for wanted in (1, 3):
            whole, bound = case.decode([1, 3], wanted)
            with monkeypatch.context() as patch:
                patch.setattr(device_blocks, "MOST_ROWS", most)
                found, same = case.decode([1, 3], wanted)
            np.testing.assert_allclose(device.get(found), device.get(whole), rtol=1e-11, atol=1e-11)
            assert bound == pytest.approx(same, rel=1e-6)


@pytest.mark.parametrize("power", [-250, -160, 160, 250])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_squares_that_overflow_or_vanish(device: Device, dtype: str, power: int) -> None:
    """Pieces are not scaled where the row levels of the operand do not say how large they are."""
    rng = np.random.default_rng(0)
    for shape in ((6, 300), (6, 3)):
        blocks = [draw(rng, shape, dtype) * 10.0**power for _ in range(3)]
        blocks[1][1, 1:] = 0  # all of one row is in one value
        on_device: Any = [device.put(block) for block in blocks]
        host, case = Case(blocks, ones(3), 6), Case(on_device, ones(3), 6)
        for wanted in range(3):
            found, bound = case.decode([wanted], wanted)
            assert worst_row(device.get(found), blocks[wanted], 0) <= bound < 1e-11
            assert bound == pytest.approx(host.decode([wanted], wanted)[1], rel=1e-3)
