"""Lost blocks and parity from pieces that arrive one after another."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dask_coded.errors import NotDecodable
from dask_coded.kernels.erasure.buffers import Bytes, as_bytes
from dask_coded.kernels.erasure.checksums import RunningChecksum
from dask_coded.kernels.erasure.columns import collect, syndromes
from dask_coded.kernels.erasure.pieces import Group, ParityPiece
from dask_coded.kernels.erasure.recovery import Recovery, piece_of

__all__ = ["Rebuilder"]


class Rebuilder:
    """Rebuilds pieces while the others arrive, in any order; holds nothing but what is rebuilt.

    After the last arrival one piece is left to be added and the lost ones to be solved for,
    however many blocks there are. For whoever fetches pieces itself, such as a worker that
    rebuilds while it still receives: a Dask task gets all its inputs at once, and `recover`
    is faster then, because it writes each sum once and not once for each piece.

    Parameters
    ----------
    group : Group
        From any parity piece of the group.
    have, wanted : collection of int
        Numbers of the pieces that can be brought together, and of those to be rebuilt.

    Raises
    ------
    NotDecodable
        If fewer than k pieces are left.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_coded.kernels.erasure.encoding import encode
    >>> blocks = np.array([5, 6]), np.array([7])
    >>> (parity,) = encode(blocks, 1)
    >>> rebuilder = Rebuilder(parity.group, have=[1, 2], wanted=[0])
    >>> rebuilder.add(2, parity)
    >>> rebuilder.missing
    (1,)
    >>> rebuilder.add(1, blocks[1])
    >>> rebuilder.finish().pieces
    {0: array([5, 6])}
    """

    def __init__(self, group: Group, have: Collection[int], wanted: Collection[int]):
        self._group, self._wanted = group, sorted(set(wanted))
        self._repair = group.code.repair(have, wanted)
        self._sums: list[Bytes] | None = syndromes(self._repair, group.nbytes)
        self._missing = set(self._repair.sources)

    @property
    def missing(self) -> tuple[int, ...]:
        """Which pieces have not arrived yet, of those that are read."""
        return tuple(sorted(self._missing))

    def add(self, index: int, piece: Any) -> None:
        """Add a piece.

        Parameters
        ----------
        index : int
            Its number in the group: one of `missing`.
        piece : ndarray or ParityPiece
            Not written to.

        Raises
        ------
        NotDecodable
            If the piece is damaged: start another rebuilder without it.
        ValueError
            If the piece is not awaited, or is no copy of the one that was encoded.
        """
        if self._sums is None or index not in self._missing:
            raise ValueError(f"piece {index} is not awaited: pieces {self.missing} are")
        group, check = self._group, RunningChecksum()
        data = piece.data if isinstance(piece, ParityPiece) else as_bytes(piece, group.blocks[index])
        first = len(self._missing) == len(self._repair.sources)
        last = len(self._missing) == 1
        collect(self._repair, self._sums, [(index, data)], group.nbytes, [check], last, first)
        if check.value() != group.checksums[index]:
            self._sums = None
            raise NotDecodable(f"piece {index} is damaged: start another Rebuilder without it")
        self._missing.remove(index)

    def finish(self) -> Recovery:
        """Return what `recover` returns; the rebuilder cannot be used any more.

        Raises
        ------
        NotDecodable
            If what was rebuilt does not match its checksum.
        ValueError
            If pieces have not arrived.
        """
        if self._missing or self._sums is None:
            raise ValueError(f"nothing is rebuilt yet: pieces {self.missing} have not arrived")
        found = dict(zip(self._repair.outputs, self._sums, strict=True))
        self._sums = None
        pieces = {index: piece_of(self._group, index, found[index]) for index in self._wanted}
        return Recovery(pieces, self._repair.sources, ())
