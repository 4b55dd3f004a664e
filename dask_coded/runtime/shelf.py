"""Blocks in memory that share parity: which there are, and how to group them.

Knows no Dask, clock or I/O. The scheduler plugin tells what is in memory where.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from typing import Any

from dask_coded.codes.code import Decoding
from dask_coded.errors import NotDecodable
from dask_coded.kernels.erasure import sources
from dask_coded.runtime.group import Group

__all__ = ["SCALES", "KeptEncodedGroup", "KeptGroup", "Request", "Shelf", "group_size", "next_group"]


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

    @property
    def extras(self) -> tuple[Hashable, ...]:
        """What a rebuild needs besides pieces."""
        return ()

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


#: Stands for the row scales among the sources of a rebuild.
SCALES = -1


@dataclass(eq=False)
class KeptEncodedGroup(KeptGroup):
    """Blocks of an encoded array in memory: what rebuilds them is parity of their numbers.

    Its parity is read by other tasks too, so its tasks keep their edges to the blocks.

    Parameters
    ----------
    group : Group
        The blocks as targets, and everything as pieces.
    tasks : dict
        What makes parity and scales.
    scales : tuple of keys
        The row scales, as many times as pieces may be lost and once more.
    """

    group: Group = field(kw_only=True)
    tasks: Mapping[Hashable, Any] = field(kw_only=True)
    scales: tuple[Hashable, ...] = field(kw_only=True)

    @property
    def extras(self) -> tuple[Hashable, ...]:
        return self.scales

    def plan(self, key: Hashable, have: Collection[Hashable]) -> dict[int, Hashable] | None:
        """Return what to rebuild a block from, None if too little is left (see `KeptGroup.plan`)."""
        decoding = self.decoding(key, have)
        if decoding is None:
            return None
        read = {piece: self.group.pieces[piece] for piece in decoding.used}
        if self.scales:
            scales = next((copy for copy in self.scales if copy in have), None)
            if scales is None:
                return None
            read[SCALES] = scales
        return read

    def decoding(self, key: Hashable, have: Collection[Hashable]) -> Decoding | None:
        """Return the weights of a rebuild."""
        numbers = {number for number, piece in enumerate(self.group.pieces) if piece in have and piece != key}
        return self.group.code.plan(numbers, self.blocks.index(key))


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
    """

    name: str
    parity: int
    group: int | None
    awaited: set[Hashable]
    groups: int = 0
    #: Blocks in memory that have no group yet, by the worker that holds them.
    held: dict[str, dict[Hashable, None]] = field(default_factory=dict)
    _where: dict[Hashable, str] = field(default_factory=dict)

    @property
    def arrived(self) -> Collection[Hashable]:
        """Blocks in memory that have no group yet."""
        return self._where.keys()

    def arrive(self, key: Hashable, worker: str) -> None:
        """A block is in memory."""
        self.awaited.discard(key)
        if key not in self._where:
            self._where[key] = worker
            self.held.setdefault(worker, {})[key] = None

    def leave(self, key: Hashable) -> None:
        """A block is in memory no more, or has got a group."""
        worker = self._where.pop(key, None)
        if worker is not None:
            del self.held[worker][key]
            if not self.held[worker]:
                del self.held[worker]


class Shelf:
    """All blocks that must survive: asked for, or in a group."""

    def __init__(self) -> None:
        self.request_of: dict[Hashable, Request] = {}
        #: By block, parity piece, row scales and encode task; in the order in which they were put here.
        self.groups_of: dict[Hashable, dict[KeptGroup, None]] = {}
        self.groups: dict[str, KeptGroup] = {}
        #: Everything that makes parity of encoded arrays, and for how many groups.
        self.makers: Counter[Hashable] = Counter()
        #: Blocks without a task that could compute them again.
        self.scattered: set[Hashable] = set()
        #: Blocks of encoded arrays that are not in memory yet, by group.
        self.expected: dict[KeptEncodedGroup, set[Hashable]] = {}

    def put(self, group: KeptGroup) -> None:
        """Keep a new group."""
        self.groups[group.name] = group
        for key in (*group.pieces, *group.extras, group.encoded):
            self.groups_of.setdefault(key, {})[group] = None
        if isinstance(group, KeptEncodedGroup):
            self.makers.update(group.tasks.keys())

    def take(self, group: KeptGroup) -> None:
        """Keep a group no longer."""
        self.groups.pop(group.name, None)
        for key in (*group.pieces, *group.extras, group.encoded):
            found = self.groups_of.get(key, {})
            found.pop(group, None)
            if not found:
                self.groups_of.pop(key, None)
        if isinstance(group, KeptEncodedGroup):
            self.makers -= Counter(group.tasks.keys())

    def neighbours(self, key: Hashable) -> Iterator[Hashable]:
        """Yield the other pieces of every group that a piece belongs to."""
        for group in self.groups_of.get(key, ()):
            yield from (piece for piece in group.pieces if piece != key)

    def requests(self) -> Iterator[Request]:
        """Yield what is still to be put in groups."""
        yield from {request.name: request for request in self.request_of.values()}.values()


#: More blocks in a group need less memory for parity and more reading for a rebuild.
BLOCKS_OF_A_GROUP = 8


def group_size(workers: int, parity: int, most: int | None) -> int:
    """Return how many blocks a group may have so that every piece has a worker of its own."""
    return max(0, min(workers - parity, most or BLOCKS_OF_A_GROUP))


def next_group(
    held: Mapping[str, Collection[Hashable]], machines: Mapping[str, str], size: int, last: bool
) -> Sequence[Hashable]:
    """Return blocks that make a group, none if it is better to wait.

    They are on different workers, of different machines in turn, unless no more blocks
    will come and too few workers hold what is left: then pieces move, which costs less
    than parity for small groups.

    Parameters
    ----------
    held : dict of str to keys
        Blocks without a group, by the worker that holds them.
    machines : dict of str to str
        The machine that each worker runs on.
    size : int
        Blocks of a group.
    last : bool
        No more blocks will come: smaller groups are right too.
    """
    if not held or size < 1 or (len(held) < size and not last):
        return ()
    together: dict[str, list[str]] = {}
    for worker in sorted(held, key=lambda worker: (-len(held[worker]), worker)):
        together.setdefault(machines.get(worker, worker), []).append(worker)
    in_turn = [worker for turn in zip_longest(*together.values()) for worker in turn if worker is not None]
    rounds = zip_longest(*(held[worker] for worker in in_turn))
    keys = (key for key in chain.from_iterable(rounds) if key is not None)
    return list(islice(keys, size))
