"""Parity of blocks, all at once or as they arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dask_coded.kernels.devices import on_device_if_any
from dask_coded.kernels.erasure.array_code import ArrayCode
from dask_coded.kernels.erasure.buffers import BlockLayout, Bytes, as_bytes, layout_of
from dask_coded.kernels.erasure.checksums import RunningChecksum, checksum
from dask_coded.kernels.erasure.columns import collect, syndromes
from dask_coded.kernels.erasure.pieces import Group, ParityPiece

__all__ = ["Encoder", "encode"]


class Encoder:
    """Encodes blocks that arrive one after another, in any order; holds nothing but the parity.

    Parameters
    ----------
    k : int
        Number of blocks.
    parity : int
        Number of parity pieces r.
    nbytes : int
        Bytes of the longest block.

    Examples
    --------
    >>> import numpy as np
    >>> encoder = Encoder(2, parity=1, nbytes=2)
    >>> encoder.update(1, np.array([7], "uint8"))
    >>> encoder.update(0, np.array([1, 2], "uint8"))
    >>> [piece.data.tolist() for piece in encoder.finish()]
    [[6, 2]]
    """

    def __init__(self, k: int, parity: int, nbytes: int):
        code = ArrayCode(k, parity)
        self._repair = code.repair(range(k), range(k, code.n))
        self._nbytes = nbytes
        self._sums: list[Bytes] | None = []
        self._known: dict[int, tuple[BlockLayout, int]] = {}

    def update(self, index: int, block: Any) -> None:
        """Add a block.

        Parameters
        ----------
        index : int
            Its number in the group; each is given once.
        block : ndarray or NumPy scalar
            Any dtype without references, any shape and memory order; not written to. It is
            copied only if it does not lie in memory without gaps.

        Raises
        ------
        TypeError
            If the bytes of the block are not all there is to it.
        ValueError
            If the number is wrong or the block too long.
        """
        self._add({index: block})

    def finish(self) -> tuple[ParityPiece, ...]:
        """Return the r parity pieces; the encoder cannot be used any more.

        Raises
        ------
        ValueError
            If blocks are missing.
        """
        code, sums = self._repair.code, self._taken()
        missing = [index for index in range(code.k) if index not in self._known]
        if missing:
            raise ValueError(f"no parity yet: blocks {missing} of {code.k} were not added")
        self._sums = None
        layouts, known = zip(*(self._known[index] for index in range(code.k)), strict=True)
        group = Group(layouts, (*known, *(checksum(data, code.tile) for data in sums)), self._nbytes)
        return tuple(ParityPiece(group, code.k + place, data) for place, data in enumerate(sums))

    def _add(self, blocks: Mapping[int, Any]) -> None:
        sums = self._taken()
        layouts = {index: layout_of(block) for index, block in blocks.items()}
        for index, layout in layouts.items():
            if index in self._known or not 0 <= index < self._repair.code.k:
                known = sorted(self._known)
                raise ValueError(f"block {index} of {self._repair.code.k}: blocks {known} are there already")
            if layout.nbytes > self._nbytes:
                raise ValueError(f"block {index} has {layout.nbytes} bytes, more than nbytes={self._nbytes}")
        found = [(index, as_bytes(block, layouts[index])) for index, block in blocks.items()]
        checks = [RunningChecksum() for _ in found]
        if not self._known:
            sums += syndromes(self._repair, self._nbytes, on_device_if_any(data for _, data in found))
        last = len(self._known) + len(found) == self._repair.code.k
        collect(self._repair, sums, found, self._nbytes, checks, last, first=not self._known)
        for index, check in zip(layouts, checks, strict=True):
            self._known[index] = layouts[index], check.value()

    def _taken(self) -> list[Bytes]:
        if self._sums is None:
            raise ValueError("finish() was called: start another Encoder")
        return self._sums


def encode(blocks: Sequence[Any], parity: int) -> tuple[ParityPiece, ...]:
    """Encode blocks into parity pieces.

    Faster than an `Encoder` where all blocks are there: parity stays in cache meanwhile.

    Parameters
    ----------
    blocks : sequence of k ndarrays or NumPy scalars
        Any dtypes without references, any shapes, memory orders and lengths; not written to.
    parity : int
        Number of parity pieces r: as many pieces may be lost, whichever they are.

    Returns
    -------
    tuple of r ParityPiece

    Raises
    ------
    TypeError
        If the bytes of a block are not all there is to it: objects, variable-width strings,
        masks, sparse matrices, arrays of another library.
    ValueError
        Without blocks or parity.

    Notes
    -----
    One parity is the XOR of the blocks. Two are row-diagonal parity [1]_, three its extension [2]_,
    more the codes of Blaum and Roth [3]_: all XOR only, so that NumPy is enough.

    References
    ----------
    .. [1] P. Corbett et al., "Row-Diagonal Parity for Double Disk Failure Correction", FAST 2004.
    .. [2] M. Blaum, "A Family of MDS Array Codes with Minimal Number of Encoding Operations",
       ISIT 2006.
    .. [3] M. Blaum, R. M. Roth, "New Array Codes for Multiple Phased Burst Correction", IEEE
       Trans. Inform. Theory 39, 1993.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_coded.kernels.erasure.recovery import recover
    >>> blocks = np.array([1.5, -0.0]), np.array([True]), np.array("2026-01-01", "M8[D]")
    >>> parity = encode(blocks, 2)
    >>> recover([0, 2], {1: blocks[1]}, parity).pieces
    {0: array([ 1.5, -0. ]), 2: array('2026-01-01', dtype='datetime64[D]')}
    """
    longest = max((layout_of(block).nbytes for block in blocks), default=0)
    encoder = Encoder(len(blocks), parity, longest)
    encoder._add(dict(enumerate(blocks)))
    return encoder.finish()
