"""Byte-exact parity of blocks: any k of k + r pieces give back all others, in every bit.

    blocks   0 .. k-1     whatever NumPy holds; they stay where they are, unchanged
    parity   k .. k+r-1   `ParityPiece`: bytes, and what is known of the whole group

Every piece has a checksum. A piece whose bytes do not match it is not used, and what
is recovered must match its own.
"""

from __future__ import annotations

from dask_coded.kernels.erasure.encoding import Encoder, encode
from dask_coded.kernels.erasure.pieces import Group, ParityPiece
from dask_coded.kernels.erasure.rebuilding import Rebuilder
from dask_coded.kernels.erasure.recovery import Recovery, recover, sources

__all__ = ["Encoder", "Group", "ParityPiece", "Rebuilder", "Recovery", "encode", "recover", "sources"]
