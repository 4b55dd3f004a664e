"""Parity pieces between processes."""

from __future__ import annotations

import pickle
import sys

import numpy as np

from dask_coded.kernels.erasure import encode


def test_pieces_travel_without_copies_of_their_bytes() -> None:
    piece = encode([np.arange(1000.0)], 1)[0]
    buffers: list[pickle.PickleBuffer] = []
    header = pickle.dumps(piece, protocol=5, buffer_callback=buffers.append)
    assert len(header) < 1000 and len(buffers) == 1
    back = pickle.loads(header, buffers=buffers)
    assert (back.group, back.index) == (piece.group, piece.index)
    np.testing.assert_array_equal(back.data, piece.data)


def test_the_size_is_that_of_the_bytes() -> None:
    (piece,) = encode([np.zeros(1000)], 1)
    assert 8000 < sys.getsizeof(piece) < 8200
