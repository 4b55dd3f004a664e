"""Kernels compiled by Numba, which only this package names: imported by `backend`, if at all.

All take addresses, so that one compilation serves any number of blocks. They check
nothing, hold no interpreter lock, and are kept on disk between processes where a
place can be written to.
"""

from __future__ import annotations

import numpy as np

from dask_coded.kernels.compiled.floats import mix_segments
from dask_coded.kernels.compiled.levels import largest_bits
from dask_coded.kernels.compiled.xor import add_up_words, xor_stripes

__all__ = ["add_up_words", "compile_kernels", "largest_bits", "mix_segments", "xor_stripes"]


def compile_kernels(kind: str) -> None:
    """Compile the kernels of one kind by calling them with nothing to do."""
    none, one = np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    if kind == "bytes":
        zero = np.zeros(1, np.int64)
        xor_stripes(one, 0, (zero, zero, zero, zero, zero), (1, 1, 0))
        add_up_words(0, 0, np.zeros(1, np.uint64))
        return
    dtype = np.dtype(kind)
    room = np.empty((0, 0), dtype)
    mix_segments(room, none, (0, 0, 0), False, (room, room), np.empty((0, 0)), one, none, 1, dtype, False)
    bits = np.dtype(f"u{dtype.itemsize}")
    largest_bits(0, (0, 0, 0), bits.type(0), np.empty(0, bits))
