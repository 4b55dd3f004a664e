"""Combining blocks on a device: as the reference says, and nothing leaves the device."""

from __future__ import annotations

import fake_gpu
import numpy as np
import pytest
from device_cases import Device, close
from kernel_cases import FLOATS, INTEGERS, draw

from dask_coded.kernels import combine, encode_block, reference

LAYOUTS = ("C", "F", "strided", "reversed", "swapped", "offset")


@pytest.mark.parametrize("dtype", ["float16", *FLOATS, *INTEGERS, "int16", "uint16"])
@pytest.mark.parametrize(("k", "r"), [(1, 1), (2, 1), (5, 2), (9, 3), (20, 4), (3, 7), (2, 19)])
@pytest.mark.usefixtures("no_transfers")
def test_combine_is_the_reference(device: Device, dtype: str, k: int, r: int) -> None:
    rng = np.random.default_rng(k)
    for shape in ((), (1,), (33,), (257, 3), (4, 5, 6), (0, 3)):
        blocks = [draw(rng, shape, dtype) for _ in range(k)]
        weights = rng.integers(-2, 3, (r, k)) if np.dtype(dtype).kind in "iu" else rng.standard_normal((r, k))
        result = combine(weights, [device.put(block) for block in blocks])
        host = combine(weights, blocks)
        with np.errstate(all="ignore"):
            true = reference.combine(weights, blocks, host.dtype)
        assert close(device.get(result), true, k) and close(host, true, k)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "complex128", "uint8"])
def test_memory_order_changes_nothing(device: Device, layout: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    blocks = [draw(rng, (5, 4, 7), dtype) for _ in range(3)]
    weights = [[1, 2, -1], [0, 1, 1]]
    plain = device.get(combine(weights, list(map(device.put, blocks))))
    for layouts in ((layout,) * 3, (layout, "C", "F")):
        placed = [device.lay_out(block, each) for block, each in zip(blocks, layouts, strict=True)]
        np.testing.assert_array_equal(device.get(combine(weights, placed)), plain)


@pytest.mark.parametrize(
    "dtypes",
    [
        ("int8", "int64"), ("uint8", "int16"), ("float16", "float32"), ("float32", "complex64"),
        ("int32", "float64"), ("complex64", "float64"), ("int8", "float16"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("weights", [[[1, -1], [2, 3]], [[1j, 2]]])
def test_blocks_of_several_dtypes(
    device: Device, dtypes: tuple[str, str], weights: list[list[complex]]
) -> None:
    if np.iscomplexobj(weights) and all(np.dtype(dtype).kind in "iu" for dtype in dtypes):
        pytest.skip("integers take whole numbers only")
    rng = np.random.default_rng(0)
    blocks = [draw(rng, (40, 3), dtype) for dtype in dtypes]
    true = combine(weights, blocks)
    found = device.get(combine(weights, list(map(device.put, blocks))))
    assert found.dtype == true.dtype
    np.testing.assert_allclose(found, true, rtol=1e-5, atol=1e-5)


def test_out_is_written_whatever_it_is(device: Device) -> None:
    rng = np.random.default_rng(0)
    blocks = [draw(rng, (6, 5), "float32") for _ in range(3)]
    on_device = list(map(device.put, blocks))
    weights = rng.standard_normal((2, 3))
    true = combine(weights, blocks)
    for out in (
        device.put(np.empty((2, 6, 5), "float32")),
        device.put(np.empty((2, 6, 5), "float64")),
        device.put(np.empty((5, 6, 2), "float32")).T,
        device.put(np.empty((2, 6, 10), "float32"))[..., ::2],
    ):
        assert combine(weights, on_device, out) is out
        np.testing.assert_allclose(device.get(out), true, rtol=1e-5)
    whole = device.put(np.stack(blocks))
    parts = [whole[i] for i in range(3)]
    combine(weights, parts, whole[:2])
    np.testing.assert_allclose(device.get(whole[:2]), true, rtol=1e-5)
    with pytest.raises(TypeError, match="cannot put float32"):
        combine(weights, on_device, device.put(np.empty((2, 6, 5), "int64")))


def test_host_and_device_are_not_mixed(device: Device) -> None:
    block = np.ones((2, 3))
    for blocks, out in (
        ([block, device.put(block)], None),
        ([device.put(block)] * 2, np.empty((1, 2, 3))),
        ([block] * 2, device.put(np.empty((1, 2, 3)))),
    ):
        with pytest.raises(TypeError, match=r"some of the blocks are on a device.*cupy\.asarray"):
            combine([[1, 1]], blocks, out)
    with pytest.raises(TypeError, match="on a device"):
        encode_block([[1, 1]], [device.put(block), block], axis=0, length=2, dtype="f8")


def test_arrays_of_other_libraries_are_refused() -> None:
    class Foreign:
        __cuda_array_interface__ = fake_gpu.FakeGPU(np.ones(3)).__cuda_array_interface__
        shape, dtype, ndim, strides = (3,), np.dtype(float), 1, (8,)

    with pytest.raises(TypeError, match=r"must be CuPy arrays.*cupy\.asarray"):
        combine([[1]], [Foreign()])
