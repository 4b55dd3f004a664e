"""Pieces that arrive one after another give the same bits as all at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from byte_cases import random_blocks, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.errors import NotDecodable
from dask_coded.kernels.erasure import Rebuilder, encode, recover


@settings(max_examples=80, deadline=None)
@given(random_blocks(1, 7), st.integers(1, 4), st.data())
def test_any_order_of_arrival(blocks: list[Any], r: int, data: st.DataObject) -> None:
    parity, n = encode(blocks, r), len(blocks) + r
    pieces: list[Any] = [*blocks, *parity]
    wanted = data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=r))
    have = set(range(n)) - wanted
    rebuilder = Rebuilder(parity[0].group, have, wanted)
    order = data.draw(st.permutations(rebuilder.missing))
    for index in order:
        rebuilder.add(index, pieces[index])
    assert not rebuilder.missing
    found = rebuilder.finish()
    assert set(found.pieces) == wanted and set(found.used) == set(order)
    for index, piece in found.pieces.items():
        if index < len(blocks):
            assert same_bits(piece, blocks[index])
        else:
            np.testing.assert_array_equal(piece.data, pieces[index].data)
    left = {index: blocks[index] for index in have if index < len(blocks)}
    given_parity = [piece for piece in parity if piece.index in have]
    if given_parity:
        at_once = recover(wanted, left, given_parity)
        assert at_once.used == found.used and at_once.pieces.keys() == found.pieces.keys()


def test_refusals() -> None:
    blocks = [np.arange(4.0), np.arange(3), np.arange(2)]
    parity = encode(blocks, 1)
    with pytest.raises(NotDecodable, match="2 of 4 pieces are left and 3 are needed"):
        Rebuilder(parity[0].group, [1, 2], [0])
    rebuilder = Rebuilder(parity[0].group, [1, 2, 3], [0])
    rebuilder.add(1, blocks[1])
    with pytest.raises(ValueError, match=r"pieces \(2, 3\) have not arrived"):
        rebuilder.finish()
    with pytest.raises(ValueError, match=r"piece 1 is not awaited: pieces \(2, 3\) are"):
        rebuilder.add(1, blocks[1])
    with pytest.raises(ValueError, match="no copy of one of int64"):
        rebuilder.add(2, np.arange(2.0))
    with pytest.raises(NotDecodable, match="piece 2 is damaged"):
        rebuilder.add(2, np.arange(1, 3))
    with pytest.raises(ValueError, match="not awaited"):
        rebuilder.add(3, parity[0])
