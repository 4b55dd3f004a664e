"""Blocks in memory that share parity: which there are, and how to group them.

Knows no Dask, clock or I/O. The scheduler plugin tells what is in memory where.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from dask_coded.errors import NotDecodable
from dask_coded.kernels.erasure import sources

__all__ = ["KeptGroup", "Request", "group_size", "next_group"]


@dataclass(eq=False)
class KeptGroup:
    """Blocks in memory and the parity pieces that rebuild them.

    Parameters
    ----------
    name : str
        Unique among the groups of a scheduler.
    blocks, parity : tuple of keys
        Pieces 0..k-1 and k..k+r-1.
    encoded : key
        The task that all parity is made by.
    host : str
        The worker that encodes.
    """

    name: str
    blocks: tuple[Hashable, ...]
    parity: tuple[Hashable, ...]
    encoded: Hashable
    host: str
    #: Blocks that nobody wants any more.
    gone: set[Hashable] = field(default_factory=set)

    @property
    def pieces(self) -> tuple[Hashable, ...]:
        return self.blocks + self.parity

    def plan(self, key: Hashable, have: Collection[Hashable]) -> dict[int, Hashable] | None:
        """Return what to rebuild a block from, None if too little is left.

        Parameters
        ----------
        key : hashable
            One of `blocks`.
        have : collection of keys
            Pieces that a living worker holds.
        """
        numbers = [number for number, piece in enumerate(self.pieces) if piece in have and piece != key]
        try:
            read = sources(len(self.blocks), len(self.parity), numbers, [self.blocks.index(key)])
        except NotDecodable:
            return None
        return {number: self.pieces[number] for number in read}


@dataclass(eq=False)
class Request:
    """What one call of `persist` wants protected.

    Parameters
    ----------
    name : str
        Unique among the requests of a scheduler.
    parity : int
        Parity pieces of each group.
    group : int or None
        Blocks of a group at most; None: what suits the number of workers.
    awaited : set of keys
        Blocks that are not in memory yet.
    arrived : dict of key to str
        Blocks in memory that have no group yet, and the worker that holds each.
    """

    name: str
    parity: int
    group: int | None
    awaited: set[Hashable]
    arrived: dict[Hashable, str] = field(default_factory=dict)
    groups: int = 0


#: More blocks in a group need less memory for parity and more reading for a rebuild.
BLOCKS_OF_A_GROUP = 8


def group_size(workers: int, parity: int, most: int | None) -> int:
    """Return how many blocks a group may have so that every piece has a worker of its own."""
    return max(0, min(workers - parity, most or BLOCKS_OF_A_GROUP))


def next_group(arrived: dict[Hashable, str], size: int, last: bool) -> Sequence[Hashable]:
    """Return blocks that make a group, none if it is better to wait.

    They are on different workers, unless no more blocks will come and too few workers
    hold what is left: then pieces move, which costs less than parity for small groups.

    Parameters
    ----------
    arrived : dict of key to str
        Blocks without a group, and where each is.
    size : int
        Blocks of a group.
    last : bool
        No more blocks will come: smaller groups are right too.
    """
    held: dict[str, list[Hashable]] = {}
    for key, worker in arrived.items():
        held.setdefault(worker, []).append(key)
    if not held or size < 1 or (len(held) < size and not last):
        return ()
    fullest = sorted(held, key=lambda worker: (-len(held[worker]), worker))
    rounds = zip_longest(*(held[worker] for worker in fullest), fillvalue=None)
    in_turn = [key for keys in rounds for key in keys if key is not None]
    return in_turn[:size]
