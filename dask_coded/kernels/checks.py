"""What must hold of pieces before a block is decoded from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dask_coded.errors import DecodeRefused
from dask_coded.kernels.combine import fit_weights
from dask_coded.kernels.dtypes import parity_dtype
from dask_coded.kernels.groups import RowGroups

__all__ = ["check_dtypes", "check_pieces", "decode_weights", "resized"]

Block = NDArray[Any]


def resized(shape: tuple[int, ...], axis: int, rows: int) -> tuple[int, ...]:
    """Return the shape of a block with another number of rows."""
    return (*shape[:axis], rows, *shape[axis + 1 :])


def decode_weights(weights: ArrayLike, pieces: Sequence[Block], work: np.dtype[Any]) -> Block:
    """Return the weights in the dtype of the arithmetic, or refuse those that are not exact."""
    for piece in pieces:
        parity_dtype(piece.dtype, work)
    if work.kind in "iu" and not np.isin(weights, (-1, 0, 1)).all():
        raise DecodeRefused("integers decode exactly only with weights 1 and -1")
    return fit_weights(weights, work)


def check_pieces(groups: RowGroups, own: Sequence[int], shape: tuple[int, ...], length: int) -> None:
    """Check that a block of this shape can come from these pieces."""
    axis, piece = groups.axis, groups.blocks[0]
    if shape[axis] > length or resized(shape, axis, 0) != resized(piece.shape, axis, 0):
        raise ValueError(f"no block of shape {shape} from pieces like {piece.shape} of {length} rows")
    for i, piece in zip(own, groups.blocks, strict=True):
        if i < 0 and piece.shape[axis] != length:
            raise ValueError(f"a parity piece has {piece.shape[axis]} rows instead of {length}")


def check_dtypes(pieces: Sequence[Block], own: Sequence[int], result: np.dtype[Any]) -> None:
    """Refuse blocks that are not what was announced: parity may have wrapped or rounded elsewhere."""
    for i, piece in zip(own, pieces, strict=True):
        if i >= 0 and piece.dtype.newbyteorder("=") != result.newbyteorder("="):
            raise DecodeRefused(f"a piece has dtype {piece.dtype}, but {result} was announced")
