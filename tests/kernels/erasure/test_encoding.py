"""Encoding: all at once, block by block, and what it refuses."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from byte_cases import random_blocks
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.kernels.erasure import Encoder, ParityPiece, encode


def contents(pieces: tuple[ParityPiece, ...]) -> list[Any]:
    return [(piece.group, piece.index, piece.data.tobytes()) for piece in pieces]


@settings(max_examples=60, deadline=None)
@given(random_blocks(1, 7), st.integers(1, 5), st.randoms())
def test_the_order_of_arrival_does_not_matter(blocks: list[Any], parity: int, random: Any) -> None:
    encoder = Encoder(len(blocks), parity, max(block.nbytes for block in blocks))
    order = random.sample(range(len(blocks)), len(blocks))
    for index in order:
        encoder.update(index, blocks[index])
    assert contents(encoder.finish()) == contents(encode(blocks, parity))


def test_one_parity_is_xor() -> None:
    (piece,) = encode([np.array([1, 2], "u1"), np.array([4], "u1"), np.array([], "u1")], 1)
    assert piece.index == 3 and piece.data.tolist() == [5, 2]


def test_longer_room_than_the_blocks_need() -> None:
    encoder = Encoder(1, 1, nbytes=5)
    encoder.update(0, np.array([3], "u1"))
    (piece,) = encoder.finish()
    assert piece.data.tolist() == [3, 0, 0, 0, 0]


@pytest.mark.parametrize("parity", [1, 2, 3, 4])
def test_nothing_but_parity_is_held(parity: int) -> None:
    blocks = [np.full(3 << 18, index, "u4") for index in range(4)]
    tracemalloc.start()
    try:
        encoder = Encoder(4, parity, blocks[0].nbytes)
        for index, block in enumerate(blocks):
            encoder.update(index, block)
        pieces = encoder.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < parity * blocks[0].nbytes + (3 << 19) * parity  # a stripe of each, to solve for them
    assert len(pieces) == parity


def test_refusals() -> None:
    encoder = Encoder(2, 1, nbytes=8)
    encoder.update(1, np.zeros(1))
    for index in (1, 2, -1):
        with pytest.raises(ValueError, match=rf"block {index} of 2: blocks \[1\] are there already"):
            encoder.update(index, np.zeros(1))
    with pytest.raises(ValueError, match="16 bytes, more than nbytes=8"):
        encoder.update(0, np.zeros(2))
    with pytest.raises(TypeError, match="dtype object"):
        encoder.update(0, np.array([None]))
    with pytest.raises(ValueError, match=r"blocks \[0\] of 2 were not added"):
        encoder.finish()
    encoder.update(0, np.zeros(1))
    encoder.finish()
    for call in (encoder.finish, lambda: encoder.update(0, np.zeros(1))):
        with pytest.raises(ValueError, match="start another Encoder"):
            call()
    with pytest.raises(ValueError, match="k=0, r=1"):
        encode([], 1)
    with pytest.raises(ValueError, match="k=1, r=0"):
        encode([np.zeros(1)], 0)
