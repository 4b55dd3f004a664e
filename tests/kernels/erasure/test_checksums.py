"""Damage changes the checksum; the order of the work does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.kernels.erasure.checksums import RunningChecksum, checksum

SIZES = st.integers(0, 40) | st.sampled_from([8168, 2 * 8168, 50_000, 131_073])


def random_bytes(size: int, seed: int) -> Any:
    return np.frombuffer(np.random.default_rng(seed).bytes(size), np.uint8).copy()


@settings(max_examples=100, deadline=None)
@given(SIZES, st.integers(1, 7), st.integers(0, 2**32))
def test_only_the_bytes_count(size: int, offset: int, seed: int) -> None:
    data = random_bytes(size, seed)
    elsewhere = np.empty(size + offset, np.uint8)[offset:]
    elsewhere[:] = data
    running = RunningChecksum()
    for start in range(0, size, 10_000):
        running.add(data[start : start + 10_000])
    assert running.value() == checksum(data, 10_000) == checksum(elsewhere, 10_000)


@settings(max_examples=200, deadline=None)
@given(st.data(), SIZES.filter(bool), st.integers(1, 255), st.integers(0, 2**32))
def test_a_changed_byte_is_seen(data: st.DataObject, size: int, change: int, seed: int) -> None:
    whole = random_bytes(size, seed)
    before = checksum(whole, 50_000)
    whole[data.draw(st.integers(0, size - 1))] ^= change
    assert checksum(whole, 50_000) != before


@pytest.mark.parametrize("value", [1.0, 2.0, -0.0, np.nan, 3.25])
@pytest.mark.parametrize("size", [1 << 12, 1 << 15, 100_000])
def test_zeroed_pages_of_constant_data_are_seen(value: float, size: int) -> None:
    block = np.full(size, value)
    before = checksum(block.view(np.uint8), 1 << 18)
    for first, last in [(0, size), (512, 1024), (512, 4096), (size // 2, size), (size - 1, size)]:
        damaged = block.copy()
        damaged[first:last] = 0
        assert checksum(damaged.view(np.uint8), 1 << 18) != before


def test_lost_and_exchanged_parts_are_seen() -> None:
    data = random_bytes(1 << 17, 0)
    zeros = np.zeros_like(data)
    before, empty = checksum(data, 1 << 16), checksum(zeros, 1 << 16)
    for page in (8, 512, 4096, 8192, 1 << 16):
        exchanged = data.copy()
        exchanged[:page], exchanged[page : 2 * page] = data[page : 2 * page], data[:page]
        assert checksum(exchanged, 1 << 16) != before
        assert checksum(data[:-page], 1 << 16) != before
        assert checksum(zeros[:-page], 1 << 16) != empty
