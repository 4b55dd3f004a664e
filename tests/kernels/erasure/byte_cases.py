"""Blocks of every dtype and layout, and how their bits are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Block = NDArray[Any]

PADDED = np.dtype([("a", "i1"), ("b", "f8"), ("c", [("d", "u2"), ("e", "i8")], (2,))], align=True)
DTYPES = (
    *(np.dtype(code) for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"]),
    *map(np.dtype, ("?", ">f8", ">i2", "M8[ns]", "m8[D]", "S5", "U3", "V3")),
    np.dtype([("x", "f4"), ("y", ">c16")]),
    np.dtype({"names": ["low", "all"], "formats": ["u2", "u4"], "offsets": [0, 0], "itemsize": 7}),
    np.dtype([]),
    PADDED,
)
LAYOUTS = ("C", "F", "strided", "reversed", "swapped")
SHAPES = st.one_of(
    st.just(()),
    st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple),
    st.sampled_from([(300,), (20, 30), (1, 700), (4099,)]),
)


def random_block(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], layout: str
) -> Block:
    """Return a read-only block of random bytes: NaNs of all payloads, -0.0, NaT and padding among them."""
    block: Block = np.empty(shape, dtype)
    if block.nbytes:
        block = np.frombuffer(rng.bytes(block.nbytes), dtype).reshape(shape)
    return lay_out(block, layout)


def lay_out(block: Block, layout: str) -> Block:
    """Return an array of the same shape and dtype that lies in memory in another way."""
    if layout == "F":
        block = block.reshape(block.shape[::-1]).T
    elif layout == "strided":
        block = np.repeat(block, 2, axis=-1)[..., ::2] if block.ndim else block
    elif layout == "reversed":
        block = block[::-1] if block.ndim else block
    elif layout == "swapped" and block.ndim > 1:
        block = block.reshape(*block.shape[1:], block.shape[0]).transpose(-1, *range(block.ndim - 1))
    block.flags.writeable = False
    return block


@st.composite
def random_blocks(draw: st.DrawFn, least: int = 1, most: int = 1) -> list[Block]:
    """Draw blocks, each of its own dtype, shape and layout."""
    kinds = st.tuples(SHAPES, st.sampled_from(DTYPES), st.sampled_from(LAYOUTS))
    found = draw(st.lists(kinds, min_size=least, max_size=most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return [random_block(rng, *kind) for kind in found]


def same_bits(found: Any, true: Any) -> bool:
    """Compare dtype, shape and every bit of every value."""
    if found.dtype != true.dtype or found.shape != true.shape:
        return False
    if true.dtype.fields is not None:
        return all(same_bits(found[name], true[name]) for name in true.dtype.names)
    return bool(found.tobytes() == true.tobytes())


def moved(block: Block) -> Block:
    """Return a copy as another process may get it: in C order, padding not kept."""
    copy: Block = np.empty(block.shape, block.dtype)
    if block.nbytes:
        copy.reshape(-1).view(np.uint8)[:] = 0xAA
    copy_values(copy, block)
    return copy


def copy_values(target: Block, source: Block) -> None:
    """Copy values and not the padding between them."""
    if source.dtype.fields is None:
        target[...] = source
    for name in source.dtype.names or ():
        copy_values(target[name], source[name])
