"""Erasure codes on a device: the bits and checksums of the host, so that either mends what the other made."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import fake_gpu
import numpy as np
import pytest
from device_cases import Device

from dask_coded.errors import NotDecodable
from dask_coded.kernels.erasure import Encoder, ParityPiece, encode, recover
from dask_coded.kernels.erasure.array_code import ArrayCode
from dask_coded.kernels.erasure.buffers import as_bytes, from_bytes, layout_of
from dask_coded.kernels.erasure.checksums import RunningChecksum, checksum
from dask_coded.kernels.on_device import collect

DTYPES = ("int8", "uint16", "float16", "float32", "float64", "complex64", "complex128", "bool")


def blocks_of(k: int, longest: int) -> list[np.ndarray]:
    """Return blocks of any bits, several dtypes and lengths, read-only."""
    rng = np.random.default_rng([k, longest])
    blocks = []
    for i in range(k):
        dtype = np.dtype(DTYPES[(i + longest) % len(DTYPES)])
        size = longest // dtype.itemsize if i == 0 else int(rng.integers(0, longest // dtype.itemsize + 1))
        data = np.frombuffer(rng.bytes(size * dtype.itemsize), np.uint8)
        blocks.append(((data & 1) if dtype.kind == "b" else data).view(dtype))
    return blocks


def up(device: Device, piece: Any) -> Any:
    if isinstance(piece, ParityPiece):
        return ParityPiece(piece.group, piece.index, up(device, piece.data))
    return device.put(np.array(piece))


def down(device: Device, piece: Any) -> Any:
    data = device.get(piece.data if isinstance(piece, ParityPiece) else piece)
    return ParityPiece(piece.group, piece.index, data) if isinstance(piece, ParityPiece) else data


def same(one: Any, other: Any) -> bool:
    if isinstance(one, ParityPiece):
        return one.group == other.group and one.index == other.index and same(one.data, other.data)
    return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())


@pytest.mark.parametrize("longest", [0, 1, 7, 16, 1000, 4099, 300_000, 600_001])
@pytest.mark.parametrize(("k", "r"), [(1, 1), (3, 1), (4, 2), (5, 3), (3, 4), (9, 2)])
def test_parity_is_the_same(device: Device, k: int, r: int, longest: int) -> None:
    blocks = blocks_of(k, longest)
    true = encode(blocks, r)
    found = encode([up(device, block) for block in blocks], r)
    assert all(same(down(device, one), other) for one, other in zip(found, true, strict=True))
    encoder = Encoder(k, r, max(block.nbytes for block in blocks))
    for index in reversed(range(k)):
        encoder.update(index, up(device, blocks[index]))
    found = encoder.finish()
    assert all(same(down(device, one), other) for one, other in zip(found, true, strict=True))


def test_nothing_behind_a_piece_is_read(device: Device) -> None:
    longest = np.full(96, 0x5A, np.uint8)
    for size in range(97):
        for r in (1, 2):
            blocks = [longest, np.full(size, 0x3C, np.uint8)]
            found = encode([up(device, block) for block in blocks], r)
            assert all(
                same(down(device, one), other) for one, other in zip(found, encode(blocks, r), strict=True)
            )


@pytest.mark.parametrize("longest", [5, 3001, 270_000])
@pytest.mark.parametrize(("k", "r"), [(1, 1), (4, 1), (4, 2), (6, 3), (3, 4), (2, 5)])
def test_every_loss_is_mended_on_either_side(device: Device, k: int, r: int, longest: int) -> None:
    rng = np.random.default_rng(0)
    blocks = blocks_of(k, longest)
    host: list[Any] = [*blocks, *encode(blocks, r)]
    there = [up(device, piece) for piece in host]
    losses = [lost for count in range(1, r + 1) for lost in combinations(range(k + r), count)]
    losses = [lost for lost in losses if not set(range(k, k + r)) <= set(lost)]
    for number in rng.permutation(len(losses))[:12]:
        lost = losses[number]
        left = [index for index in range(k + r) if index not in lost]
        given = {index: there[index] for index in left if index < k}
        found = recover(lost, given, [there[index] for index in left if index >= k])
        assert all(same(down(device, found.pieces[index]), host[index]) for index in lost)
        assert not found.damaged


def test_a_matrix_keeps_its_layout(device: Device) -> None:
    rng = np.random.default_rng(0)
    plain = [rng.standard_normal((4, 5, 6)).astype("float32") for _ in range(3)]
    for layout in ("C", "F", "strided", "reversed", "swapped"):
        blocks = [device.lay_out(block, layout) for block in plain]
        found = recover([1], {0: blocks[0], 2: blocks[2]}, encode(blocks, 1)).pieces[1]
        assert same(device.get(found), plain[1])
        assert layout_of(found).order == layout_of(blocks[1]).order
        layout_ = layout_of(blocks[1])
        assert same(device.get(from_bytes(as_bytes(blocks[1], layout_), layout_)), plain[1])
    scalar = device.put(np.array(2.5))
    assert device.get(from_bytes(as_bytes(scalar), layout_of(scalar))) == 2.5


def test_every_dtype_can_be_viewed_where_its_bytes_come_out(device: Device) -> None:
    """A device faults on values that are not aligned; pieces are of any number of bytes."""
    blocks = [np.random.default_rng(i).standard_normal(374) for i in range(6)]
    pieces = [up(device, piece) for piece in [*blocks, *encode(blocks, 3)]]
    assert pieces[6].data.nbytes % 8
    found = recover([0, 2, 5], {i: pieces[i] for i in (1, 3, 4)}, pieces[6:])
    assert all(same(device.get(found.pieces[i] + 0), blocks[i]) for i in (0, 2, 5))


def test_pieces_from_both_sides(device: Device) -> None:
    """A worker without the device has sent its pieces."""
    blocks = blocks_of(4, 5000)
    host = [*blocks, *encode(blocks, 2)]
    there = [up(device, piece) for piece in host]
    found = recover([1, 2], {0: blocks[0], 3: there[3]}, [there[4], host[5]])
    assert all(same(device.get(found.pieces[index]), blocks[index]) for index in (1, 2))


def test_damage_is_found(device: Device) -> None:
    blocks = blocks_of(4, 300_000)
    there = [up(device, piece) for piece in [*blocks, *encode(blocks, 2)]]
    broken = np.array(blocks[2])
    broken.view(np.uint8)[-1] ^= 1
    given = {0: there[0], 2: device.put(broken), 3: there[3]}
    found = recover([1], given, there[4:])
    assert found.damaged == (2,) and same(device.get(found.pieces[1]), blocks[1])
    with pytest.raises(NotDecodable, match=r"pieces \[2\] damaged|damaged"):
        recover([1], given, there[4:5])


@pytest.mark.parametrize("size", [0, 1, 7, 8, 63, 8168, 8169, 262_144, 262_145, 700_003])
def test_checksums_are_the_same(device: Device, size: int) -> None:
    data = np.frombuffer(np.random.default_rng(size).bytes(size + 1), np.uint8)
    for tile in (64, 640, 8192, 262_144):
        if size / tile > 2000:
            continue
        assert checksum(device.put(data[:size].copy()), tile) == checksum(data[:size], tile)
        assert checksum(device.put(data.copy())[1:], tile) == checksum(data[1:], tile)


def test_bits_of_large_codes_do_not_fit_in_one_solve(device: Device) -> None:
    code = ArrayCode(40, 4)
    assert code.rows * 4 > 8 * 16
    blocks = [np.frombuffer(np.random.default_rng(i).bytes(901), np.uint8) for i in range(40)]
    pieces = [up(device, piece) for piece in encode(blocks, 4)]
    there = {i: up(device, block) for i, block in enumerate(blocks) if i not in (0, 7, 31, 39)}
    found = recover([0, 7, 31, 39], there, pieces)
    assert all(same(device.get(found.pieces[i]), blocks[i]) for i in (0, 7, 31, 39))


def test_what_was_in_the_sums_does_not_matter_at_first(device: Device) -> None:
    blocks = [np.frombuffer(np.random.default_rng(i).bytes(999), np.uint8) for i in range(3)]
    code = ArrayCode(3, 2)
    repair = code.repair(range(3), range(3, 5))
    sums = [device.put(np.full(code.size(999), 7, np.uint8)) for _ in repair.outputs]
    pieces = [(i, device.put(np.array(block))) for i, block in enumerate(blocks)]
    running = RunningChecksum()
    collect(repair, sums, pieces, 999, [None, running, None], last=True, first=True)
    true = encode(blocks, 2)
    assert all(same(device.get(found), piece.data) for found, piece in zip(sums, true, strict=True))
    assert running.value() == true[0].group.checksums[1]


def test_dtypes_of_records_stay_on_the_host() -> None:
    class Records:
        __cuda_array_interface__: Any = {}
        dtype, shape, strides, ndim = np.dtype(object), (2,), (8,), 1

    Records.__module__ = "fake_gpu"
    with pytest.raises(TypeError, match="hold references"):
        layout_of(Records())


def test_few_bytes_come_back() -> None:
    if fake_gpu.compiler() is None:
        pytest.skip("no C++ compiler to run the CUDA kernels on the CPU with")
    blocks = [fake_gpu.FakeGPU(np.zeros(1 << 20, np.uint8)) for _ in range(4)]
    fake_gpu.transfers.clear()
    encode(blocks, 2)
    assert len(fake_gpu.transfers) <= 3 and sum(fake_gpu.transfers) <= 6 * 16 * 5
