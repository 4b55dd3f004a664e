"""What travels between encoding and recovery."""

from __future__ import annotations

from dataclasses import dataclass

from dask_coded.kernels.erasure.array_code import ArrayCode
from dask_coded.kernels.erasure.buffers import BlockLayout, Bytes

__all__ = ["Group", "ParityPiece"]


@dataclass(frozen=True)
class Group:
    """What is known of pieces that recover each other.

    Parameters
    ----------
    blocks : tuple of k BlockLayout
        How each block is made of its bytes.
    checksums : tuple of k + r int
        Of the bytes of all pieces, blocks first.
    nbytes : int
        The most bytes that a block could have.
    """

    blocks: tuple[BlockLayout, ...]
    checksums: tuple[int, ...]
    nbytes: int

    @property
    def code(self) -> ArrayCode:
        """The code of the group."""
        return ArrayCode(len(self.blocks), len(self.checksums) - len(self.blocks))


@dataclass(frozen=True, eq=False)
class ParityPiece:
    """A parity piece.

    Parameters
    ----------
    group : Group
        The group that it belongs to.
    index : int
        Its number in the group: k or more.
    data : ndarray, uint8, 1-d
        Its bytes: as many as the longest block has, and less than 2 * (k + r) more.
    """

    group: Group
    index: int
    data: Bytes

    def __sizeof__(self) -> int:
        # What counts for memory limits; sys.getsizeof would see three pointers.
        return object.__sizeof__(self) + self.data.nbytes
