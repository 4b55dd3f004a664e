"""Blocks become bytes and blocks again, bit for bit."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from byte_cases import DTYPES, PADDED, moved, random_block, random_blocks, same_bits
from hypothesis import given, settings

from dask_coded.kernels.erasure.buffers import as_bytes, from_bytes, layout_of


@settings(max_examples=200, deadline=None)
@given(random_blocks())
def test_back_bit_for_bit(blocks: list[Any]) -> None:
    (block,) = blocks
    layout = layout_of(block)
    data = as_bytes(block)
    assert data.dtype == np.uint8 and data.shape == (layout.nbytes,) and layout.nbytes == block.nbytes
    assert same_bits(from_bytes(data, layout), block)
    assert pickle.loads(pickle.dumps(layout)) == layout and hash(layout) == hash(layout_of(block))


@settings(max_examples=200, deadline=None)
@given(random_blocks())
def test_a_moved_copy_has_the_same_bytes(blocks: list[Any]) -> None:
    (block,) = blocks
    np.testing.assert_array_equal(as_bytes(moved(block), layout_of(block)), as_bytes(block))


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.itemsize], ids=str)
def test_blocks_without_gaps_are_not_copied(dtype: np.dtype[Any]) -> None:
    block = random_block(np.random.default_rng(0), (4, 3, 2), dtype, "C")
    has_padding = dtype == PADDED or dtype.itemsize == 7
    for view in (block, block.T, block.transpose(1, 2, 0), block[1], block[..., :1][0, 0]):
        assert np.shares_memory(as_bytes(view), block) is not has_padding
        assert np.shares_memory(from_bytes(as_bytes(view), layout_of(view)), block) is not has_padding


def test_memory_order_comes_back() -> None:
    block = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert from_bytes(as_bytes(block), layout_of(block)).flags.f_contiguous


def test_padding_counts_as_zeros() -> None:
    block = np.zeros(3, PADDED)
    plain = as_bytes(block)
    block.view(np.uint8)[1:8] = 7
    assert not as_bytes(block).any() and not plain.any()


def test_scalars_come_back_as_arrays_without_axes() -> None:
    back = from_bytes(as_bytes(np.float32(2.5)), layout_of(np.float32(2.5)))
    assert back.shape == () and back == 2.5


class OnDevice:
    __cuda_array_interface__: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (np.array([1, None]), r"dtype object hold references.*x\.astype"),
        (np.array(["a"], np.dtypes.StringDType()), r"StringDType.*astype\('U32'\)"),
        (np.zeros(2, [("a", "O")]), "references"),
        (np.ma.masked_array([1, 2], [True, False]), r"MaskedArray is more than its bytes.*numpy\.asarray"),
        (np.zeros(2, "f4").view(np.recarray), "recarray is more than"),
        ([1, 2], r"builtins\.list"),
        (OnDevice(), r"must be CuPy arrays.*cupy\.asarray"),
    ],
)
def test_refusals_say_what_to_do(block: Any, text: str) -> None:
    for function in (layout_of, as_bytes):
        with pytest.raises(TypeError, match=text):
            function(block)


def test_what_does_not_fit_is_refused() -> None:
    layout = layout_of(np.zeros(3))
    with pytest.raises(ValueError, match="no copy of one of float64 with shape"):
        as_bytes(np.zeros(3, int), layout)
    with pytest.raises(ValueError, match="8 bytes for a block of 24"):
        from_bytes(np.zeros(8, np.uint8), layout)
