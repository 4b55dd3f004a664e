"""Blocks and parity that were lost, from others of their group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dask_coded.errors import NotDecodable
from dask_coded.kernels.devices import on_device_if_any
from dask_coded.kernels.erasure.array_code import ArrayCode
from dask_coded.kernels.erasure.buffers import Bytes, as_bytes, from_bytes
from dask_coded.kernels.erasure.checksums import RunningChecksum, checksum
from dask_coded.kernels.erasure.columns import collect, syndromes
from dask_coded.kernels.erasure.pieces import Group, ParityPiece

__all__ = ["Recovery", "piece_of", "recover", "sources"]


@dataclass(frozen=True)
class Recovery:
    """What came out of `recover`.

    Parameters
    ----------
    pieces : dict of int to ndarray or ParityPiece
        The wanted pieces.
    used : tuple of int
        Pieces that were read for it.
    damaged : tuple of int
        Pieces that were found damaged and left out.
    """

    pieces: dict[int, Any]
    used: tuple[int, ...]
    damaged: tuple[int, ...]


def sources(k: int, parity: int, have: Collection[int], wanted: Collection[int]) -> tuple[int, ...]:
    """Return which pieces `recover` would read, so that only they need to be brought together.

    Parameters
    ----------
    k, parity : int
        Number of blocks and of parity pieces.
    have, wanted : collection of int
        Numbers of the pieces that are left, and of those to be recovered.

    Returns
    -------
    tuple of int
        k or more of the pieces that are left. More are read only where that is less work than
        to do without them: any k of them are enough.

    Raises
    ------
    NotDecodable
        If fewer than k pieces are left.

    Examples
    --------
    >>> sources(4, 2, have=[0, 2, 3, 4, 5], wanted=[1])
    (0, 2, 3, 4)
    """
    return ArrayCode(k, parity).repair(have, wanted).sources


def recover(wanted: Collection[int], blocks: Mapping[int, Any], parity: Collection[ParityPiece]) -> Recovery:
    """Recover lost blocks and parity pieces from others of their group.

    Parameters
    ----------
    wanted : collection of int
        Numbers of the pieces to recover; if given all the same they are not read.
    blocks : mapping of int to ndarray
        Blocks that are left; not written to. Their memory order may have changed.
    parity : collection of ParityPiece
        Parity pieces that are left, at least one. Where none is left, `encode` makes them again.

    Returns
    -------
    Recovery
        Blocks in dtype, shape and memory order as they were encoded, bit for bit.

    Raises
    ------
    NotDecodable
        If fewer than k intact pieces are left.
    ValueError
        If pieces do not belong to one group, or no parity is given.
    """
    pieces = {piece.index: piece.data for piece in parity}
    group = _group_of(parity)
    outside = sorted(index for index in blocks if not 0 <= index < len(group.blocks))
    if outside:
        raise ValueError(f"no blocks {outside} in a group of {len(group.blocks)}")
    damaged: set[int] = set()
    while True:
        repair = group.code.repair((blocks.keys() | pieces.keys()) - damaged, wanted, damaged)
        read = [
            (index, as_bytes(blocks[index], group.blocks[index]) if index in blocks else pieces[index])
            for index in repair.sources
        ]
        checks = [RunningChecksum() for _ in read]
        sums = syndromes(repair, group.nbytes, on_device_if_any(data for _, data in read))
        collect(repair, sums, read, group.nbytes, checks, last=True, first=True)
        bad = {i for (i, _), check in zip(read, checks, strict=True) if check.value() != group.checksums[i]}
        if not bad:
            break
        damaged |= bad
    results = dict(zip(repair.outputs, sums, strict=True))
    recovered = {index: piece_of(group, index, results[index]) for index in sorted(wanted)}
    return Recovery(recovered, repair.sources, tuple(sorted(damaged)))


def _group_of(pieces: Iterable[ParityPiece]) -> Group:
    groups = {piece.group for piece in pieces}
    if len(groups) != 1:
        raise ValueError(f"parity pieces of {len(groups)} groups: give one or more, all of the same group")
    return groups.pop()


def piece_of(group: Group, index: int, data: Bytes) -> Any:
    """Return the piece that has these bytes, with zeros behind them."""
    is_block = index < len(group.blocks)
    if is_block and group.blocks[index].nbytes < len(data):
        whole, data = data, data[: group.blocks[index].nbytes]
        if 20 * len(data) < 19 * len(whole):
            data = data.copy()  # not to keep the memory of a longer block
    if checksum(data, group.code.tile) != group.checksums[index]:
        raise NotDecodable(f"piece {index} was recovered but does not match its checksum")
    return from_bytes(data, group.blocks[index]) if is_block else ParityPiece(group, index, data)
