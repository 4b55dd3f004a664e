"""What is lost comes back bit for bit, from intact pieces only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from byte_cases import moved, random_blocks, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.errors import NotDecodable
from dask_coded.kernels.erasure import ParityPiece, Recovery, encode, recover, sources


@pytest.fixture(autouse=True, scope="module")
def short_stripes() -> Any:
    """Cut blocks of a few thousand bytes in stripes and tiles too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dask_coded.kernels.erasure.array_code._LONGEST", 1)
        patch.setattr("dask_coded.kernels.erasure.array_code._TILE", 2_000)
        yield


def recover_from(have: Any, wanted: Any, blocks: list[Any], parity: tuple[ParityPiece, ...]) -> Recovery:
    left = {index: blocks[index] for index in have if index < len(blocks)}
    return recover(wanted, left, [piece for piece in parity if piece.index in have])


def assert_recovered(found: Recovery, blocks: list[Any], parity: tuple[ParityPiece, ...]) -> None:
    for index, piece in found.pieces.items():
        if index < len(blocks):
            assert same_bits(piece, blocks[index])
        else:
            true = parity[index - len(blocks)]
            assert (piece.index, piece.group) == (true.index, true.group)
            np.testing.assert_array_equal(piece.data, true.data)


@settings(max_examples=150, deadline=None)
@given(random_blocks(1, 7), st.integers(1, 5), st.data())
def test_any_k_pieces_are_enough(blocks: list[Any], r: int, data: st.DataObject) -> None:
    parity, n = encode(blocks, r), len(blocks) + r
    have = data.draw(st.permutations(range(n)).map(lambda order: order[: len(blocks)]))
    if max(have) < len(blocks):
        have[0] = n - 1
    lost = sorted(set(range(n)) - set(have))
    wanted = data.draw(st.sets(st.sampled_from(lost)))
    found = recover_from(have, wanted, blocks, parity)
    assert set(found.pieces) == wanted and not found.damaged
    assert found.used == sources(len(blocks), r, have, wanted)
    assert_recovered(found, blocks, parity)


@settings(max_examples=50, deadline=None)
@given(random_blocks(2, 5), st.data())
def test_survivors_may_have_been_moved(blocks: list[Any], data: st.DataObject) -> None:
    parity = encode(blocks, 1)
    lost = data.draw(st.integers(0, len(blocks) - 1))
    left = {index: moved(block) for index, block in enumerate(blocks) if index != lost}
    assert_recovered(recover([lost], left, parity), blocks, parity)


def damage(piece: Any, place: int, change: int) -> Any:
    if isinstance(piece, ParityPiece):
        return ParityPiece(piece.group, piece.index, damage(piece.data, place, change))
    copy = piece.copy(order="K")
    copy.reshape(-1, order="A").view(np.uint8)[place % copy.nbytes] ^= change
    return copy


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 6), st.integers(2, 5), st.integers(1, 255), st.integers(0, 10**6), st.data())
def test_damaged_pieces_are_not_used(k: int, r: int, change: int, place: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(place)
    blocks: list[Any] = [rng.random((3, int(rng.integers(1, 60)))) for _ in range(k)]
    parity = encode(blocks, r)
    struck = data.draw(st.sets(st.integers(0, k + r - 1), min_size=2, max_size=r))
    lost = data.draw(st.sampled_from(sorted(struck)))
    pieces = [
        damage(piece, place, change) if i in struck else piece for i, piece in enumerate([*blocks, *parity])
    ]
    have = set(range(k + r)) - {lost}
    found = recover_from(have, [lost], pieces[:k], tuple(pieces[k:]))
    assert_recovered(found, blocks, parity)
    assert set(found.damaged) <= struck and not struck & set(found.used)


def test_the_damaged_ones_are_named() -> None:
    blocks = [np.arange(5.0), np.arange(3), np.array([True])]
    parity = encode(blocks, 2)
    left = {1: damage(blocks[1], 9, 1), 2: blocks[2]}
    found = recover([0], left, parity)
    assert found.damaged == (1,) and found.used == (2, 3, 4)
    mended = recover([0, 1], left, parity)
    assert not mended.damaged and same_bits(mended.pieces[1], blocks[1])
    text = r"2 of 5 pieces are left and 3 are needed: pieces \[0, 4\] are missing, pieces \[1\] damaged"
    with pytest.raises(NotDecodable, match=text):
        recover([0], left, parity[:1])


def test_a_short_block_does_not_keep_the_memory_of_a_long_one() -> None:
    blocks = [np.zeros(1000), np.ones(2)]
    found = recover([1], {0: blocks[0]}, encode(blocks, 1)).pieces[1]
    base: Any = found
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert base.nbytes == 16 and found.flags.writeable


def test_refusals() -> None:
    blocks = [np.arange(5.0), np.arange(3)]
    parity = encode(blocks, 1)
    with pytest.raises(ValueError, match="0 groups"):
        recover([0], {1: blocks[1]}, [])
    with pytest.raises(ValueError, match="2 groups"):
        recover([0], {1: blocks[1]}, [*parity, *encode([*blocks, blocks[0]], 1)])
    with pytest.raises(ValueError, match="no copy of one of int64"):
        recover([0], {1: np.arange(4)}, parity)
    with pytest.raises(ValueError, match=r"no blocks \[-1, 2\] in a group of 2"):
        recover([0], {1: blocks[1], 2: blocks[1], -1: blocks[1]}, parity)
    with pytest.raises(ValueError, match=r"no pieces \[3\]"):
        recover([3], dict(enumerate(blocks)), parity)
    with pytest.raises(NotDecodable, match=r"1 of 3 pieces are left and 2 are needed"):
        recover([0, 1], {}, parity)
