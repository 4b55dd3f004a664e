"""Replication: every block computed several times; the first copy to finish serves."""

from __future__ import annotations

import numpy as np

from dask_coded.codes.checking import at_least
from dask_coded.codes.code import Code

__all__ = ["replication"]


def replication(k: int, copies: int = 2) -> Code:
    """Return the code of `k` blocks, each computed `copies` times.

    Decodes nothing and so rounds nothing: the fallback for dtypes and functions
    that no sum can repair, and the baseline that other codes are measured against.

    Parameters
    ----------
    k : int
        Number of blocks.
    copies : int
        Pieces for each block, the block's own included. Pieces ``c * k + i`` for
        any c are copies of block i.
    """
    at_least(1, k=k, copies=copies)
    rows = np.tile(np.eye(k), (copies, 1))
    return Code(f"replication(k={k}, copies={copies})", (rows,), rows, np.eye(k))
